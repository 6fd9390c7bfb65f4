package store

import (
	"context"
	"errors"
	"time"
)

// follow yields what is in a topic behind a cursor, and then what comes, until ctx ends, yield returns false, or what is
// followed cannot be had. keep says which of the rows that are read for all the reader may see. The error is nil where
// yield has ended it.
func (f *feed[K, E]) follow(ctx context.Context, key K, reader Reader, cursor FollowCursor, keep func(*E) bool, yield func(E, FollowCursor) bool) error {
	for {
		err := f.followOnce(ctx, key, reader, &cursor, keep, yield)
		switch {
		case errors.Is(err, errEnough):
			return nil
		case !errors.Is(err, errMissed):
			return err
		}
	}
}

// followOnce reads what was there before, joins the others, and yields what comes. It moves the cursor.
func (f *feed[K, E]) followOnce(ctx context.Context, key K, reader Reader, cursor *FollowCursor, keep func(*E) bool, yield func(E, FollowCursor) bool) error {
	if err := f.catchUp(ctx, key, reader, cursor, yield); err != nil {
		return err
	}
	follower, moment := f.join(key, cursor.behind)
	defer f.leave(key, follower)
	cursor.until = moment // what came meanwhile, and others have been handed
	if err := f.catchUp(ctx, key, reader, cursor, yield); err != nil {
		return err
	}
	return f.receive(ctx, follower, cursor, keep, yield)
}

var (
	// errEnough says that whoever follows has ended it.
	errEnough = errors.New("the follower has ended")
	// errMissed says that a follower was too slow for what came.
	errMissed = errors.New("more has come than may wait for a follower")
)

// catchUp yields what is behind cursor, up to the moment that it names, else up to now, and moves it there. While the
// database cannot be asked it tries again.
func (f *feed[K, E]) catchUp(ctx context.Context, key K, reader Reader, cursor *FollowCursor, yield func(E, FollowCursor) bool) error {
	retry := feedRetry
	for {
		found, err := f.readOne(ctx, key, reader, *cursor)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && passesForFollowers(err):
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(retry):
				retry = min(2*retry, feedRetryMax)
			}
			continue
		case err != nil:
			return err
		}
		retry = feedRetry
		next, complete := found.next(*cursor, f.page)
		until := found.until(*cursor)
		for i := range found.rows {
			row := &found.rows[i]
			if ctx.Err() != nil {
				return ctx.Err()
			}
			cursor.until, cursor.transaction, cursor.id = until, row.transaction, row.id
			if !yield(row.value, *cursor) {
				return errEnough
			}
		}
		*cursor = next
		if complete {
			return nil
		}
	}
}

// readOne reads a page of one topic.
func (f *feed[K, E]) readOne(ctx context.Context, key K, reader Reader, cursor FollowCursor) (news[E], error) {
	select {
	case f.reads <- struct{}{}:
		defer func() { <-f.reads }()
	case <-ctx.Done():
		return news[E]{}, ctx.Err()
	}
	found, err := f.read(ctx, reader, []K{key}, []FollowCursor{cursor}, f.page)
	if err != nil {
		return news[E]{}, err
	}
	return found[0], found[0].err
}

// receive yields what the feed hands to a follower and the cursor is not behind yet.
func (f *feed[K, E]) receive(ctx context.Context, follower *follower[E], cursor *FollowCursor, keep func(*E) bool, yield func(E, FollowCursor) bool) error {
	var highest uint64 // transaction of a row since the latest moment that was complete
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-follower.signal:
		}
		batches, missed := follower.take()
		if missed {
			return errMissed
		}
		for _, batch := range batches {
			if batch.err != nil {
				return batch.err
			}
			for i := range batch.rows {
				row := &batch.rows[i]
				highest = max(highest, row.transaction)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if cursor.behind.shows(row.transaction) || !keep(&row.value) {
					continue
				}
				cursor.until, cursor.transaction, cursor.id = batch.until, row.transaction, row.id
				if !yield(row.value, *cursor) {
					return errEnough
				}
			}
			if batch.last {
				*cursor = FollowCursor{behind: cursor.behind.union(batch.until.until(highest))}
				highest = 0
			}
		}
	}
}

// passesForFollowers reports whether the database may answer the next time.
func passesForFollowers(err error) bool { return IsRetryable(err) || errors.Is(err, errStandby) }
