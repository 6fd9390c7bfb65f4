package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	// feedPage is how many rows of one topic a read takes.
	feedPage = 500
	// feedTopics is how many topics one statement asks about, and the most that it looks at.
	feedTopics = 50
	// feedQueue is how many rows wait for a follower, before it has to read them again by itself.
	feedQueue = 10_000
	// feedRetry and feedRetryMax are the first and the longest pause after the database could not be asked.
	feedRetry    = 50 * time.Millisecond
	feedRetryMax = time.Second
)

// ErrCursorAhead says that a follower has received what the database has never had: it was restored from a backup, or a
// standby took over that had not received everything. What is followed has to be read anew, from the start or from now. When
// the database has had more transactions since than the follower knew of, nothing tells.
var ErrCursorAhead = errors.New("cursor is ahead of the database")

// A feed hands what is new in each topic, such as a session, to those who follow it. One goroutine reads for all of them,
// so that a thousand followers of a session cost the database as much as one. A follower reads by itself what came before,
// and what it missed while it was too slow.
type feed[K comparable, E any] struct {
	// read returns a page of the news in each topic, of what reader may see.
	read func(ctx context.Context, reader Reader, topics []K, from []FollowCursor, maxRows int) ([]news[E], error)
	// page is how many rows of one topic a read takes.
	page int
	// number is what writers call a topic.
	number func(K) uint64
	// interval is how long to wait for a wake-up before asking without one.
	interval func() time.Duration
	logger   *slog.Logger
	// reads bounds the followers that read by themselves at once, so that they leave connections to others.
	reads chan struct{}
	woken chan struct{}

	mu     sync.Mutex
	topics map[K]*topic[K, E]
}

// news is what one read has found in a topic.
type news[E any] struct {
	rows []feedRow[E]
	// now is the moment of the read.
	now snapshot
	err error
}

// feedRow is a row of a topic with its place.
type feedRow[E any] struct {
	transaction uint64
	id          int64
	value       E
}

// topic is what somebody follows.
type topic[K comparable, E any] struct {
	key       K
	number    uint64
	cursor    FollowCursor // what its followers have been handed
	dirty     bool         // there may be news
	followers map[*follower[E]]struct{}
}

// follower is where the news of a topic wait for one that follows it.
type follower[E any] struct {
	signal chan struct{}

	mu     sync.Mutex
	queue  []batch[E]
	rows   int
	missed bool // more came than may wait: the queue is gone, and nothing comes any more
}

// batch is a page that all followers of a topic share.
type batch[E any] struct {
	rows []feedRow[E]
	// until is the moment of the page; this and the batches before hold all that it shows, if last is true.
	until snapshot
	last  bool
	err   error
}

// wake says that there may be news in the topics of a number, or in all.
func (f *feed[K, E]) wake(number uint64, all bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	news := false
	for _, topic := range f.topics {
		if all || topic.number == number {
			topic.dirty, news = true, true
		}
	}
	if news {
		f.wakeReader()
	}
}

func (f *feed[K, E]) wakeReader() {
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

// run reads for the followers until ctx ends.
func (f *feed[K, E]) run(ctx context.Context) {
	defer f.wakeReader() // one that began meanwhile looks at what this has left
	retry, asked, failing := feedRetry, time.Now(), false
	for ctx.Err() == nil {
		if time.Since(asked) >= f.interval() {
			asked = time.Now()
			f.markAll()
		}
		dirty := f.takeDirty()
		var err error
		for topics := range slices.Chunk(dirty, feedTopics) {
			if err = f.readTopics(ctx, topics); err != nil {
				break
			}
		}
		pause := time.Until(asked.Add(f.interval()))
		switch {
		case err != nil:
			f.markDirty(dirty)
			pause, retry = retry, min(2*retry, feedRetryMax)
			if !failing && ctx.Err() == nil {
				f.logger.LogAttrs(ctx, slog.LevelWarn, "followers wait for the database", slog.String("error", err.Error()))
			}
			failing = true
		case len(dirty) > 0:
			if failing {
				f.logger.LogAttrs(ctx, slog.LevelInfo, "followers are served again")
			}
			retry, failing = feedRetry, false
		}
		woken := f.woken
		if err != nil {
			woken = nil // a wake-up does not bring the database back
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-woken:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (f *feed[K, E]) markAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, topic := range f.topics {
		topic.dirty = true
	}
}

func (f *feed[K, E]) takeDirty() []*topic[K, E] {
	f.mu.Lock()
	defer f.mu.Unlock()
	var dirty []*topic[K, E]
	for _, topic := range f.topics {
		if topic.dirty {
			topic.dirty = false
			dirty = append(dirty, topic)
		}
	}
	return dirty
}

func (f *feed[K, E]) markDirty(topics []*topic[K, E]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, topic := range topics {
		topic.dirty = true
	}
}

// readTopics reads a page of each topic and hands it to the followers. An error says that the database could not be asked,
// which may pass; any other ends the followers.
func (f *feed[K, E]) readTopics(ctx context.Context, topics []*topic[K, E]) error {
	keys, from := make([]K, len(topics)), make([]FollowCursor, len(topics))
	for i, topic := range topics {
		keys[i], from[i] = topic.key, topic.cursor // only this goroutine writes the cursor
	}
	found, err := f.read(ctx, Reader{Admin: true}, keys, from, f.page)
	if err != nil {
		if ctx.Err() != nil || passesForFollowers(err) {
			return err
		}
		found = make([]news[E], len(topics))
		for i := range found {
			found[i].err = err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, topic := range topics {
		f.handOut(topic, found[i])
	}
	return nil
}

// handOut gives a page to all followers of a topic and moves its place. It is called with mu held.
func (f *feed[K, E]) handOut(topic *topic[K, E], found news[E]) {
	next, complete := found.next(topic.cursor, f.page)
	// Where there is nothing, nobody needs to know, unless it ends what came before.
	if len(found.rows) > 0 || found.err != nil || topic.cursor.until.xmax > 0 {
		batch := batch[E]{rows: found.rows, until: found.until(topic.cursor), last: complete, err: found.err}
		for follower := range topic.followers {
			if !follower.add(batch) {
				delete(topic.followers, follower)
			}
		}
	}
	topic.cursor = next
	switch {
	case found.err != nil || len(topic.followers) == 0:
		if f.topics[topic.key] == topic {
			delete(f.topics, topic.key)
		}
	case !complete:
		topic.dirty = true
		f.wakeReader()
	}
}

// next is the place behind a page that was read from a cursor, and whether nothing more is there up to its moment.
func (n *news[E]) next(from FollowCursor, page int) (FollowCursor, bool) {
	until, transaction, id := n.until(from), from.transaction, from.id
	for _, row := range n.rows {
		transaction, id = row.transaction, row.id
	}
	if len(n.rows) < page {
		return FollowCursor{behind: from.behind.union(until.until(transaction))}, true
	}
	return FollowCursor{behind: from.behind, until: until, transaction: transaction, id: id}, false
}

// until is the moment up to which a page was read from a cursor.
func (n *news[E]) until(from FollowCursor) snapshot {
	if from.until.xmax > 0 {
		return from.until
	}
	return n.now
}

// join makes a follower of a topic, which receives what the moment that is returned does not show. The first follower of a
// topic says itself which moment that is.
func (f *feed[K, E]) join(key K, moment snapshot) (*follower[E], snapshot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	joined := f.topics[key]
	if joined == nil {
		joined = &topic[K, E]{
			key: key, number: f.number(key), cursor: FollowCursor{behind: moment}, dirty: true,
			followers: make(map[*follower[E]]struct{}),
		}
		f.topics[key] = joined
		f.wakeReader()
	}
	follower := &follower[E]{signal: make(chan struct{}, 1)}
	joined.followers[follower] = struct{}{}
	return follower, joined.cursor.behind.union(joined.cursor.until)
}

func (f *feed[K, E]) leave(key K, follower *follower[E]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	topic := f.topics[key]
	if topic == nil {
		return
	}
	delete(topic.followers, follower)
	if len(topic.followers) == 0 {
		delete(f.topics, key)
	}
}

// add gives a batch to the follower, and reports whether it still follows.
func (f *follower[E]) add(batch batch[E]) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rows+len(batch.rows) > feedQueue && len(f.queue) > 0 {
		f.queue, f.rows, f.missed = nil, 0, true
	} else {
		f.queue, f.rows = append(f.queue, batch), f.rows+len(batch.rows)
	}
	select {
	case f.signal <- struct{}{}:
	default:
	}
	return !f.missed
}

// take returns the batches that wait, and whether some were missed instead.
func (f *follower[E]) take() ([]batch[E], bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	batches := f.queue
	f.queue, f.rows = nil, 0
	return batches, f.missed
}

// add takes over a row that a statement gives of a topic; id 0 means that there is none.
func (n *news[E]) add(now string, standby, sessionFound bool, transaction string, id int64, value func() E) error {
	var err error
	if standby { // perhaps about to become the primary
		return errStandby
	}
	if n.now.xmax == 0 {
		if n.now, err = snapshotOf(now); err != nil {
			return err
		}
	}
	if !sessionFound {
		n.err = ErrSessionNotFound
	}
	if id == 0 {
		return nil
	}
	row := feedRow[E]{id: id, value: value()}
	if row.transaction, err = strconv.ParseUint(transaction, 10, 64); err != nil {
		return fmt.Errorf("the server gave %.40q for a transaction: %w", transaction, err)
	}
	n.rows = append(n.rows, row)
	return nil
}

// checkNews refuses what was read for cursors of which the database knows nothing.
func checkNews[E any](found []news[E], from []FollowCursor) []news[E] {
	for i := range found {
		if found[i].err == nil {
			found[i].err = checkMoment(from[i], found[i].now)
		}
	}
	return found
}

// checkMoment compares a cursor with the moment of a read.
func checkMoment(cursor FollowCursor, now snapshot) error {
	if known := cursor.known(); known > max(now.xmax, beforeAll.xmax) {
		return fmt.Errorf("%w: it knows of transaction %d, the database is at %d", ErrCursorAhead, known-1, now.xmax)
	}
	return nil
}
