package store

import (
	"context"
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
	sending   sync.WaitGroup
}

// notify tells of topics soon. What cannot be told is found by the followers, which ask from time to time.
func (n *notifier) notify(topics ...uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.interval < 0 {
		return
	}
	if n.pending == nil {
		n.pending = make(map[uint64]struct{})
	}
	for _, topic := range topics {
		n.pending[topic] = struct{}{}
	}
	n.schedule()
}

// schedule is called with mu held.
func (n *notifier) schedule() {
	if n.scheduled || len(n.pending) == 0 {
		return
	}
	n.scheduled = true
	n.sending.Add(1)
	time.AfterFunc(n.interval-time.Since(n.sent), n.send)
}

func (n *notifier) send() {
	defer n.sending.Done()
	n.mu.Lock()
	topics := make([]string, 0, len(n.pending))
	for topic := range n.pending {
		topics = append(topics, strconv.FormatUint(topic, 10))
	}
	n.pending = nil
	n.sent = time.Now()
	n.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), feedRetryMax)
	defer cancel()
	if conn, err := n.pool.Acquire(ctx); err == nil {
		_ = queries.FollowNotify(ctx, conn, topics)
		conn.Release()
	}

	n.mu.Lock()
	defer n.mu.Unlock()
	n.scheduled = false
	n.schedule()
}

// close waits until what was to be told is told.
func (n *notifier) close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.sending.Wait()
}

// messageTopic and memoryTopic are the numbers by which writers call what is followed. Whoever may listen learns nothing
// from a number, and two topics of one number only are read more often.
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

// announce tells followers of a topic that ctx has written to, when its transaction has committed.
func (m *Manager) announce(ctx context.Context, topic uint64) {
	if tx := m.transaction(ctx); tx != nil {
		tx.announce(topic)
		return
	}
	m.notifier.notify(topic)
}
