// Package faultproxy stands between a client and a PostgreSQL server and breaks what passes, for tests of connections that
// are cut at the worst moment, of servers that are slow or silent, and of an address behind which the server changes.
//
//	proxy, err := faultproxy.Start("unix", "/run/postgresql/.s.PGSQL.5432")
//	defer proxy.Close()
//	config.URL = "postgres://postgres@" + proxy.Addr() + "/postgres?sslmode=disable"
//	fired := proxy.Cut("commit", faultproxy.BeforeAnswer) // the server commits, the client never hears of it
//
// It reads what the client sends to find the moment, which is why connections through it must not be encrypted.
package faultproxy

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// Moment is when a connection is cut.
type Moment int

const (
	// Never cuts nothing: it only tells that the server has been sent it.
	Never Moment = iota
	// BeforeServer cuts before the server sees what the client sent.
	BeforeServer
	// WhileRunning cuts as soon as the server has been sent it.
	WhileRunning
	// BeforeAnswer cuts when the server has answered, before the client sees the answer.
	BeforeAnswer
)

// Proxy accepts connections on a free port of the loopback. Its methods may be called at any time, from any goroutine.
type Proxy struct {
	listener net.Listener
	running  sync.WaitGroup

	mu               sync.Mutex // guards what is below
	network, address string
	links            map[*link]struct{}
	cuts             []cut
	delay            time.Duration
	pass             chan struct{} // closed while bytes pass
	closed           bool
}

type cut struct {
	text  []byte
	when  Moment
	fired chan struct{}
	hold  chan struct{} // closed when the data may go on; nil for a cut
}

// Start returns a proxy that connects to this address; see [net.Dial].
func Start(network, address string) (*Proxy, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: listener, network: network, address: address, links: make(map[*link]struct{}), pass: make(chan struct{})}
	close(p.pass)
	p.running.Go(p.accept)
	return p, nil
}

// Addr is the address of the proxy itself, host and port. It stays the same.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close ends the proxy and all connections through it, and waits for that.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.CutAll()
	p.running.Wait()
}

// Forward sends new connections to another address. Where nobody listens there, they are closed at once.
func (p *Proxy) Forward(network, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.network, p.address = network, address
}

// CutAll cuts all connections and returns how many.
func (p *Proxy) CutAll() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.cut()
	}
	return len(p.links)
}

// Cut cuts the next connection on which the client sends text, once. The channel is closed when that has happened.
func (p *Proxy) Cut(text string, when Moment) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	fired := make(chan struct{})
	p.cuts = append(p.cuts, cut{text: []byte(text), when: when, fired: fired})
	return fired
}

// Hold keeps the next data in which the client sends text from the server, once, until release is called. The channel is
// closed when it is there.
func (p *Proxy) Hold(text string) (held <-chan struct{}, release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := cut{text: []byte(text), fired: make(chan struct{}), hold: make(chan struct{})}
	p.cuts = append(p.cuts, c)
	return c.fired, func() { close(c.hold) }
}

// Delay makes each piece of data wait for d, in both directions.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Silence holds back all data, in both directions, until Resume. Connections are accepted and stay open.
func (p *Proxy) Silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pass = make(chan struct{})
}

// Resume ends the silence after Silence; what was held back arrives.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.pass)
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

// serve connects a client with the server until one of them leaves or the connection is cut.
func (p *Proxy) serve(client net.Conn) {
	l := &link{client: client, gone: make(chan struct{})}
	defer l.end()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.links[l] = struct{}{}
	network, address := p.network, p.address
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.links, l)
		p.mu.Unlock()
	}()

	if !p.wait(l) {
		return
	}
	server, err := new(net.Dialer).DialContext(context.Background(), network, address)
	if err != nil {
		return
	}
	var answers sync.WaitGroup
	answers.Go(func() {
		p.pump(l, server, client, p.fromServer)
		l.end()
	})
	answers.Go(func() { // the pump above reads until then
		<-l.gone
		_ = server.Close()
	})
	p.pump(l, client, server, p.fromClient)
	l.end()
	answers.Wait()
}

// pump copies until an end is closed or handle says that the connection is to be cut.
func (p *Proxy) pump(l *link, from io.Reader, to io.Writer, handle func(l *link, data []byte, to io.Writer) bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && (!p.wait(l) || !handle(l, buffer[:n], to)) || err != nil {
			return
		}
	}
}

// fromClient passes on what the client sends, and reports whether the connection goes on.
func (p *Proxy) fromClient(l *link, data []byte, server io.Writer) bool {
	c, found := p.takeCut(data)
	if found && c.hold != nil {
		close(c.fired)
		select {
		case <-c.hold:
		case <-l.gone:
			return false
		}
		_, err := server.Write(data)
		return err == nil
	}
	if found && c.when == BeforeServer {
		l.cut()
		close(c.fired)
		return false
	}
	l.mu.Lock()
	switch {
	case !found:
	case c.when == BeforeAnswer:
		l.swallow = c.fired
	case c.when == WhileRunning:
		l.muted = true
	}
	l.mu.Unlock()
	_, err := server.Write(data)
	if found && c.when == WhileRunning {
		l.cut()
	}
	if found && c.when != BeforeAnswer {
		close(c.fired)
	}
	return err == nil
}

// fromServer passes on what the server sends, and reports whether the connection goes on.
func (p *Proxy) fromServer(l *link, data []byte, client io.Writer) bool {
	l.mu.Lock()
	fired, muted := l.swallow, l.muted
	l.mu.Unlock()
	if muted {
		return false
	}
	if fired != nil {
		l.cut()
		close(fired)
		return false
	}
	_, err := client.Write(data)
	return err == nil
}

// takeCut returns the first cut whose text stands in data, and forgets it.
func (p *Proxy) takeCut(data []byte) (cut, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, c := range p.cuts {
		if bytes.Contains(data, c.text) {
			p.cuts = slices.Delete(p.cuts, i, i+1)
			return c, true
		}
	}
	return cut{}, false
}

// wait holds data back as long as it is to be, and reports whether the connection is still there then.
func (p *Proxy) wait(l *link) bool {
	p.mu.Lock()
	delay, pass := p.delay, p.pass
	p.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-l.gone:
			return false
		}
	}
	select {
	case <-pass:
		return true
	case <-l.gone:
		return false
	}
}

// link is one connection through the proxy.
type link struct {
	client net.Conn
	once   sync.Once
	gone   chan struct{} // closed when the connection is cut or ended

	mu      sync.Mutex
	swallow chan struct{} // the next answer is not passed on, and this is closed; nil for all others
	muted   bool          // no answer is passed on any more, as the connection is about to be cut
}

// end closes the connection.
func (l *link) end() {
	l.once.Do(func() {
		close(l.gone)
		_ = l.client.Close()
	})
}

// cut ends the connection as a broken network would: the client's next read or write fails with a reset.
func (l *link) cut() {
	if tcp, ok := l.client.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	l.end()
}
