// Package demo plays a transcript of agents against a store and proves that the store kept it.
//
// Every sender of the transcript becomes an agent with a goroutine of its own; all of them write at once, over one pool.
// Then everyone reads everything back, in all the ways the store offers, and each answer is compared with what the
// documented rules say, worked out here without the store. At last every other operation of the store is called, and what
// it answers compared in the same way:
//
//	transcript, err := demo.Sample()
//	if err != nil {
//		return err
//	}
//	report, err := demo.Play(ctx, manager, demo.Options{Transcript: transcript})
//	if err != nil {
//		return err // the store failed to do something
//	}
//	if !report.OK {
//		return report.Mismatches[0] // the store did something else
//	}
package demo

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sharedcontext/sharedcontext/v2/internal/latency"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

//go:embed sample.jsonl
var sample []byte

// Sample returns a short transcript: three sessions of agents of several kinds, with every level of visibility.
func Sample() (*Transcript, error) { return ReadTranscript("the sample", bytes.NewReader(sample)) }

// deleteTimeout bounds the removal of what was written, which also happens when the demonstration was interrupted.
const deleteTimeout = time.Minute

// Options are the arguments of [Play].
type Options struct {
	// Transcript is what to play. Required.
	Transcript *Transcript
	// Server describes the server, for the report.
	Server string
	// Delete removes the sessions, the memory and the tokens of this demonstration at the end, however that comes about.
	// No others are touched. The audit rows about them stay.
	Delete bool
	// Private says that the database was empty before and that nobody else uses it. Then what concerns all of it is called
	// as well: its cleanup, the sealing of its audit log, and its health.
	Private bool
	// Progress is told how far it is; nil means nobody.
	Progress Progress

	// beforeReading is called between writing and reading. Tests damage the data there.
	beforeReading func(context.Context, *playback) error
	// betweenOperations is called in each area of the operations, by name, between writing and reading.
	betweenOperations func(context.Context, string, *operations) error
}

// Progress is told how far a demonstration is. Add may be called by several goroutines at once.
type Progress interface {
	// Start begins a phase of so many steps, and ends the one before.
	Start(phase string, steps int)
	// Add says that steps are done.
	Add(steps int)
	// Stop ends the last phase.
	Stop()
}

type silence struct{}

func (silence) Start(string, int) {}
func (silence) Add(int)           {}
func (silence) Stop()             {}

// playback is one run of a transcript.
type playback struct {
	manager     *store.Manager
	transcript  *Transcript
	connections int
	progress    Progress
	sessions    map[string]store.Session // by the id in the transcript
	written     []*written               // by the index of the entry
	strangers   []string                 // ids of agents that the transcript does not have
	adds, pages *latency.Histogram
	findings    findings

	reads, lists, messagesRead atomic.Int64 // see Report
	complete                   bool         // everything was read and compared
}

// written is a message on its way into the store.
type written struct {
	entry *Entry
	done  chan struct{} // closed when id is set, which is when the message is in the store
	id    int64
}

// Play writes a transcript and verifies it. An error means that it did not get to the end; the report then says how far
// it came. What the store returned wrongly is no error but in the report.
func Play(ctx context.Context, manager *store.Manager, options Options) (report *Report, err error) {
	p := &playback{
		manager: manager, transcript: options.Transcript, connections: manager.Stats().MaxConnections,
		progress: options.Progress, sessions: make(map[string]store.Session), adds: latency.New(), pages: latency.New(),
	}
	if p.progress == nil {
		p.progress = silence{}
	}
	defer p.progress.Stop()
	report = &Report{
		Server: options.Server, Connections: p.connections, Transcript: p.transcript.Name,
		Operations: Operations{Calls: map[string]int64{}, LeftOut: []string{}},
		Sessions:   len(p.transcript.Conversations), Agents: len(p.transcript.Agents), Messages: len(p.transcript.Entries),
	}
	start := time.Now()
	defer func() { p.report(report, time.Since(start), err) }()

	if err := manager.InitializeDatabase(ctx); err != nil {
		return report, err
	}
	if options.Delete {
		defer func() {
			deleted, deleteErr := p.delete(ctx)
			report.Deleted, err = deleted, errors.Join(err, deleteErr)
		}()
	}
	if err := p.createSessions(ctx); err != nil {
		return report, err
	}
	if err := p.write(ctx, report); err != nil {
		return report, err
	}
	if options.beforeReading != nil {
		if err := options.beforeReading(ctx, p); err != nil {
			return report, err
		}
	}
	reading := time.Now()
	if err := p.verify(ctx); err != nil {
		return report, err
	}
	report.ReadSeconds = time.Since(reading).Seconds()
	if err := p.operate(ctx, options, report); err != nil {
		return report, err
	}
	p.complete = true
	return report, nil
}

// createSessions makes a session for each of the transcript, and remembers which is which. It stops between two of them
// when ctx ends: nobody would know of a session whose creation was cut off but took place.
func (p *playback) createSessions(ctx context.Context) error {
	for _, conversation := range p.transcript.Conversations {
		if err := ctx.Err(); err != nil {
			return err
		}
		session, err := p.manager.CreateSession(context.WithoutCancel(ctx), store.CreateSessionParams{
			Purpose: conversation.Purpose, CreatedBy: conversation.CreatedBy, Metadata: sessionMetadata(conversation),
		})
		if err != nil {
			return fmt.Errorf("session %s: %w", conversation.ID, err)
		}
		p.sessions[conversation.ID] = session
	}
	return nil
}

// sessionMetadata says which session of the transcript it is.
func sessionMetadata(conversation *Conversation) json.RawMessage {
	return json.RawMessage(`{"transcript_session":"` + conversation.ID + `"}`) // of letters and digits
}

// delete removes what this run has created, also when ctx has ended, and asks whether it is gone.
func (p *playback) delete(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
	defer cancel()
	p.progress.Start("deleting sessions", len(p.sessions))
	deleted := 0
	for _, conversation := range p.transcript.Conversations {
		session, created := p.sessions[conversation.ID]
		if !created {
			continue
		}
		if err := p.manager.DeleteSession(ctx, session.ID, conversation.CreatedBy); err != nil {
			return deleted, fmt.Errorf("session %s is left behind: %w", session.ID, err)
		}
		_, err := p.manager.GetSession(ctx, session.ID, store.Reader{AgentID: conversation.CreatedBy})
		if !errors.Is(err, store.ErrSessionNotFound) {
			return deleted, fmt.Errorf("session %s was deleted and is still there (%w)", session.ID, err)
		}
		deleted++
		p.progress.Add(1)
	}
	return deleted, nil
}

// write lets all agents write at once.
func (p *playback) write(ctx context.Context, report *Report) error {
	p.written = make([]*written, len(p.transcript.Entries))
	for i, entry := range p.transcript.Entries {
		p.written[i] = &written{entry: entry, done: make(chan struct{})}
	}
	p.progress.Start(fmt.Sprintf("%d agents writing messages", len(p.transcript.Agents)), len(p.written))
	before, start := p.manager.Stats(), time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	begin := make(chan struct{})
	for _, agent := range p.transcript.Agents {
		group.Go(func() error {
			<-begin
			return p.play(groupCtx, agent)
		})
	}
	close(begin)
	err := group.Wait()
	report.WriteSeconds = time.Since(start).Seconds()
	report.Written = int(p.adds.Count())
	if after := p.manager.Stats(); after.Acquired > before.Acquired {
		wait := (after.WaitDuration - before.WaitDuration) / time.Duration(after.Acquired-before.Acquired)
		report.ConnectionWait = latency.Milliseconds(wait)
	}
	return err
}
