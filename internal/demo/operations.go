package demo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sharedcontext/sharedcontext/v2/internal/count"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

const (
	// operationSessions bounds the sessions of the transcript that the operations work on, and operationReaders who reads
	// each of them.
	operationSessions = 20
	operationReaders  = 5
	// operationPrefix begins the keys of memory and the types of audit events that the operations write.
	operationPrefix = "demo."
	// ownSession stands for the id in the transcript of what is not in it.
	ownSession = "not of the transcript"
)

// Operations says what was called apart from playing the transcript and reading it page by page.
type Operations struct {
	Kinds   int              `json:"kinds"`
	Total   int64            `json:"calls"`
	Calls   map[string]int64 `json:"calls_by_operation"`
	LeftOut []string         `json:"left_out"` // what was not tried, and why
	Checked bool             `json:"all_checked"`
	Seconds float64          `json:"seconds"`
}

// operations is the part of a run that calls everything that the store offers.
type operations struct {
	*playback
	options Options
	run     string // tells this run apart, in hexadecimal

	agent, other string // agents of this run alone
	admin        reader
	chosen       []*Conversation
	memory       map[memoryName]*memoryWant
	session      store.Session // of this run, which it also deletes
	own          []*written    // the messages in it
	tokens       []string      // references of the tokens made, in order
	lastToken    string
	deleted      bool // the session

	missed atomic.Bool // a follower has waited in vain

	mu      sync.Mutex
	calls   map[string]int64
	trail   map[string]map[string]int64 // the audit events that this run's agents caused, by agent and type
	leftOut []string
}

// operate calls everything that the store offers and compares the answers with what they must be. Whatever it has
// written beyond the sessions of the transcript goes at the end, if that is asked for; its own session always does.
func (p *playback) operate(ctx context.Context, options Options, report *Report) (err error) {
	random := make([]byte, 4)
	_, _ = rand.Read(random) // never fails, by its documentation
	ctx = store.NewContext(ctx, p.manager)
	o := &operations{
		playback: p, options: options, run: hex.EncodeToString(random), calls: make(map[string]int64),
		trail: make(map[string]map[string]int64), memory: make(map[memoryName]*memoryWant), chosen: p.spreadConversations(),
	}
	o.agent, o.other = p.unusedAgent("demo-"+o.run), p.unusedAgent("demo-other-"+o.run)
	o.admin = reader{agent: p.strangers[1], admin: true}
	start := time.Now()
	defer func() {
		err = errors.Join(err, o.clear(ctx))
		o.report(&report.Operations, err, time.Since(start))
	}()

	areas := []struct {
		name string
		run  func(context.Context, where) error
	}{
		{"reads of messages", o.readMessages},
		{"search", o.searchMessages},
		{"writes of messages", o.writeMessages},
		{"followed sessions", o.followMessages},
		{"metadata of a session", o.mergeMetadata},
		{"transactions", o.transact},
		{"memory", o.remember},
		{"tokens", o.exchangeTokens},
		{"audit", o.audit},
		{"dashboards", o.watch},
		{"SQL", o.execute},
		{"database", o.maintain},
		{"end of a session", o.endSession},
	}
	p.progress.Start("calling every operation", len(areas))
	for _, area := range areas {
		at := where{sessionID: o.session.ID, transcriptID: ownSession, reader: o.agent, read: area.name}
		if err := area.run(ctx, at); isAnswer(err) {
			o.wrong(at, "unexpected answer: %v", err)
		} else if err != nil {
			return fmt.Errorf("%s: %w", area.name, err)
		}
		p.progress.Add(1)
	}
	return nil
}

// isAnswer reports whether an error is what the store says about the data, rather than a failure to say anything.
func isAnswer(err error) bool {
	for _, answer := range []error{
		store.ErrSessionNotFound, store.ErrMessageNotFound, store.ErrIdempotencyConflict, store.ErrTokenInvalid,
		store.ErrMemoryNotFound, store.ErrMemoryKeyExists, store.ErrPermission,
	} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

// refused demands an error. An answer of another kind is a difference; a failure is returned.
func (o *operations) refused(at where, what string, err, want error) error {
	switch {
	case errors.Is(err, want):
		return nil
	case err == nil || isAnswer(err):
		o.wrong(at, "%s: the answer is %s, not %q", what, orNoError(err), want)
		return nil
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

func orNoError(err error) string {
	if err == nil {
		return "no error"
	}
	return fmt.Sprintf("%q", err)
}

func (o *operations) wrong(at where, format string, arguments ...any) {
	o.findings.add(at.general(fmt.Sprintf(format, arguments...)))
}

// called counts a call.
func (o *operations) called(operation string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls[operation]++
}

// caused notes an audit event that an agent of this run must have left.
func (o *operations) caused(agent, event string) {
	if o.trail[agent] == nil {
		o.trail[agent] = make(map[string]int64)
	}
	o.trail[agent][event]++
}

// pause lets a test damage what was written before it is read.
func (o *operations) pause(ctx context.Context, at where) error {
	if o.options.betweenOperations == nil {
		return nil
	}
	return o.options.betweenOperations(ctx, at.read, o)
}

// clear removes what the operations have written, also when ctx has ended.
func (o *operations) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
	defer cancel()
	var errs []error
	if o.session.ID != "" && !o.deleted {
		err := o.manager.DeleteSession(ctx, o.session.ID, o.agent)
		if err != nil && !errors.Is(err, store.ErrSessionNotFound) {
			errs = append(errs, fmt.Errorf("session %s is left behind: %w", o.session.ID, err))
		}
	}
	if o.options.Delete {
		for _, statement := range []string{
			"DELETE FROM agent_memory WHERE agent_id IN (?, ?)", "DELETE FROM secure_tokens WHERE agent_id IN (?, ?)",
		} {
			if _, err := store.ExecuteUpdate(ctx, statement, o.agent, o.other); err != nil {
				errs = append(errs, fmt.Errorf("memory or tokens of %s are left behind: %w", o.agent, err))
			}
		}
	}
	return errors.Join(errs...)
}

// text is the line for a person.
func (r *Operations) text() string {
	text := fmt.Sprintf("%s, %s in %.2f s", count.Of(int64(r.Kinds), "kind"), count.Of(r.Total, "call"), r.Seconds)
	if r.Checked {
		text += ", all checked"
	} else {
		text += ", not all checked"
	}
	if len(r.LeftOut) > 0 {
		text += "; left out: " + strings.Join(r.LeftOut, "; ")
	}
	return text
}

func (o *operations) report(r *Operations, err error, elapsed time.Duration) {
	r.Calls, r.Kinds, r.Total = o.calls, len(o.calls), 0
	for _, n := range o.calls {
		r.Total += n
	}
	r.LeftOut = append([]string{}, o.leftOut...) // an empty list in JSON, not null
	r.Seconds, r.Checked = elapsed.Seconds(), err == nil
}

// spreadConversations returns some sessions of the transcript, from its beginning to its end.
func (p *playback) spreadConversations() []*Conversation {
	return spread(p.transcript.Conversations, operationSessions)
}

// spread returns at most n of all, evenly, the first and the last among them.
func spread[T any](all []T, n int) []T {
	if len(all) <= n {
		return all
	}
	some := make([]T, 0, n)
	for i := range n {
		some = append(some, all[i*(len(all)-1)/(n-1)])
	}
	return some
}

// sideBySide calls fn for each item, as many at once as there are connections.
func sideBySide[T any](ctx context.Context, o *operations, items []T, fn func(context.Context, T) error) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(o.connections)
	for _, item := range items {
		group.Go(func() error {
			if groupCtx.Err() != nil {
				return context.Cause(groupCtx)
			}
			return fn(groupCtx, item)
		})
	}
	return group.Wait()
}
