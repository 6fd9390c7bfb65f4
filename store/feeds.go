package store

import (
	"context"
	"errors"
	"sync"
)

// feeds are what the followers of a manager share. They run while somebody follows.
type feeds struct {
	messages *feed[string, Message]
	memory   *feed[memoryPart, MemoryEntry]
	listener *listener

	mu        sync.Mutex
	followers int
	stop      context.CancelFunc
	closed    context.Context // ends when the manager is closed
	close     context.CancelFunc
	running   sync.WaitGroup
}

func newFeeds(m *Manager) *feeds {
	f := &feeds{listener: &listener{config: m.config}}
	reads := make(chan struct{}, max(1, m.config.maxConns()/4))
	f.messages = &feed[string, Message]{
		read: m.readNewMessages, page: feedPage, number: messageTopic, interval: f.listener.interval, logger: m.config.Logger,
		reads: reads, woken: make(chan struct{}, 1), topics: make(map[string]*topic[string, Message]),
	}
	f.memory = &feed[memoryPart, MemoryEntry]{
		read: m.readNewMemory, page: feedPage, number: memoryPart.topic, interval: f.listener.interval, logger: m.config.Logger,
		reads: reads, woken: make(chan struct{}, 1), topics: make(map[memoryPart]*topic[memoryPart, MemoryEntry]),
	}
	f.listener.wake = func(topic uint64, all bool) {
		f.messages.wake(topic, all)
		f.memory.wake(topic, all)
	}
	f.closed, f.close = context.WithCancel(context.Background())
	return f
}

// enter counts a follower and has the first start what they share. The context that it returns ends with ctx and when the
// manager is closed; leave must be called at the end.
func (f *feeds) enter(ctx context.Context) (following context.Context, leave func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed.Err() != nil {
		return nil, nil, ErrManagerClosed
	}
	if f.followers == 0 {
		var running context.Context
		running, f.stop = context.WithCancel(f.closed)
		f.running.Go(func() { f.listener.run(running) })
		f.running.Go(func() { f.messages.run(running) })
		f.running.Go(func() { f.memory.run(running) })
	}
	f.followers++
	following, cancel := context.WithCancel(ctx)
	stopWaiting := context.AfterFunc(f.closed, cancel)
	return following, func() {
		stopWaiting()
		cancel()
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.followers--; f.followers == 0 {
			f.stop()
		}
	}, nil
}

// end ends all followers and waits for what they share.
func (f *feeds) end() {
	f.mu.Lock()
	f.close()
	f.mu.Unlock()
	f.running.Wait()
}

// explain tells the end of the manager from the end of a context.
func (f *feeds) explain(operation string, err error) error {
	if errors.Is(err, context.Canceled) && f.closed.Err() != nil {
		err = ErrManagerClosed
	}
	return operationError(operation, err)
}
