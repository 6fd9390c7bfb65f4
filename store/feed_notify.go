package store

import (
	"context"
	"errors"
	"hash/fnv"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// notifier tells the followers of a database, in this and in other processes, which topics have news.
type notifier struct {
	pool *pgxpool.Pool
	// interval is how often at most they are told; one notification tells of all that was written in the meantime.
	interval time.Duration

	mu        sync.Mutex
	pending   map[uint64]struct{}
	scheduled bool
	closed    bool
	sent      time.Time
	timer     *time.Timer // of what is scheduled
	sending   sync.WaitGroup
}

// notify tells of topics soon. What cannot be told is found by the followers, which ask from time to time.
func (n *notifier) notify(topics ...uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.interval < 0 {
		return
	}
	for _, topic := range topics {
		n.add(topic)
	}
	n.schedule()
}

// add is called with mu held.
func (n *notifier) add(topic uint64) {
	if n.pending == nil {
		n.pending = make(map[uint64]struct{})
	}
	n.pending[topic] = struct{}{}
}

// schedule is called with mu held.
func (n *notifier) schedule() {
	if n.scheduled || len(n.pending) == 0 {
		return
	}
	n.scheduled = true
	n.sending.Add(1)
	n.timer = time.AfterFunc(n.interval-time.Since(n.sent), n.send)
}

func (n *notifier) send() {
	defer n.sending.Done()
	n.mu.Lock()
	sending := n.pending
	n.pending = nil
	topics := make([]string, 0, len(sending))
	for topic := range sending {
		topics = append(topics, strconv.FormatUint(topic, 10))
	}
	n.sent = time.Now()
	n.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), feedRetryMax)
	defer cancel()
	conn, err := n.pool.Acquire(ctx)
	if err == nil {
		err = queries.FollowNotify(ctx, conn, topics)
		conn.Release()
	}

	n.mu.Lock()
	defer n.mu.Unlock()
	n.scheduled = false
	if err != nil && !n.closed { // told with the next, a second later
		n.sent = time.Now().Add(feedRetryMax - n.interval)
		for topic := range sending {
			n.add(topic)
		}
	}
	n.schedule()
}

// close tells at once what was to be told. What is written after this is found by those who ask.
func (n *notifier) close() {
	n.mu.Lock()
	n.closed = true
	if n.scheduled && n.timer.Stop() {
		n.timer.Reset(0)
	}
	n.mu.Unlock()
	n.sending.Wait()
}

// messageTopic and memoryTopic are the numbers by which writers call what is followed. PostgreSQL lets every role listen: a
// number does not name a session, but tells who can guess its name when it is written to. Two topics of one number are only
// read more often.
func messageTopic(sessionID string) uint64 { return topicNumber("messages", sessionID, "") }

func memoryTopic(agentID, sessionID string) uint64 { return topicNumber("memory", agentID, sessionID) }

func topicNumber(parts ...string) uint64 {
	hash := fnv.New64a()
	for _, part := range parts {
		_, _ = hash.Write([]byte(part))
		_, _ = hash.Write([]byte{0})
	}
	return hash.Sum64()
}

// announce tells followers of a topic that ctx has written to, or may have, when its transaction has committed.
func (m *Manager) announce(ctx context.Context, topic uint64, err error) {
	if err != nil && !errors.Is(err, ErrOutcomeUnknown) {
		return
	}
	if tx := m.transaction(ctx); tx != nil {
		tx.announce(topic)
		return
	}
	m.notifier.notify(topic)
}
