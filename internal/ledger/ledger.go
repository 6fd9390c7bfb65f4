// Package ledger proves that writes are neither lost nor doubled. Whoever writes messages notes what it was told about each
// of them; at the end the ledger is compared with what a session holds:
//
//	var entries ledger.Ledger
//	_, err := manager.AddMessage(ctx, session.ID, store.NewMessage{Sender: "agent", Content: text})
//	entries.Note(text, err)
//	…
//	report, err := entries.Check(ctx, manager, session.ID)
//
// A message is known by its content, which must differ from that of all others in the session.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// Ledger is what writers know about their messages in one session. The zero value is empty. It may be used by any number
// of goroutines.
type Ledger struct {
	mu      sync.Mutex
	entries map[string]entry
}

type entry struct{ acknowledged, unknown bool }

// Acknowledged notes that the message was added: it must be there once, however often this is noted.
func (l *Ledger) Acknowledged(content string) { l.note(content, entry{acknowledged: true}) }

// Unknown notes that the message may have been added: it may be there once, or be missing.
func (l *Ledger) Unknown(content string) { l.note(content, entry{unknown: true}) }

// Refused notes that an attempt has not added the message: it must be missing, unless another attempt is noted otherwise.
func (l *Ledger) Refused(content string) { l.note(content, entry{}) }

// Note notes what an attempt to add the message has returned: nil is acknowledged, an error that makes no promise is
// unknown, and one that allows to repeat the call ([store.IsRetryable]) is refused. With an idempotency key the message may
// be there after such an error as well, which the caller notes as unknown.
func (l *Ledger) Note(content string, err error) {
	switch {
	case err == nil:
		l.Acknowledged(content)
	case store.IsRetryable(err):
		l.Refused(content)
	default:
		l.Unknown(content)
	}
}

func (l *Ledger) note(content string, news entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.entries == nil {
		l.entries = make(map[string]entry)
	}
	known := l.entries[content]
	l.entries[content] = entry{acknowledged: known.acknowledged || news.acknowledged, unknown: known.unknown || news.unknown}
}

// Count returns how many messages are acknowledged so far.
func (l *Ledger) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, e := range l.entries {
		if e.acknowledged {
			n++
		}
	}
	return n
}

// Report compares a ledger with a session.
type Report struct {
	Acknowledged int `json:"acknowledged"`
	Present      int `json:"present"`    // of the acknowledged
	Duplicated   int `json:"duplicated"` // messages, acknowledged or not, that are there more than once
	Unknown      int `json:"unknown"`    // messages of which nobody knew
	Arrived      int `json:"arrived"`    // of the unknown
	Refused      int `json:"refused"`    // messages of which no attempt was acknowledged or unknown
}

// String is the report in one line.
func (r Report) String() string {
	return fmt.Sprintf("%d acknowledged, %d present, %d duplicated; %d unknown, of which %d arrived; %d refused",
		r.Acknowledged, r.Present, r.Duplicated, r.Unknown, r.Arrived, r.Refused)
}

// maxNamed bounds how many messages an error names.
const maxNamed = 10

// Check reads the whole session and returns an error unless each acknowledged message is there exactly once, each unknown
// one at most once, none that was refused, and none that is not in the ledger. Nobody may be writing to the session.
func (l *Ledger) Check(ctx context.Context, manager *store.Manager, sessionID string) (Report, error) {
	found, err := contents(ctx, manager, sessionID)
	if err != nil {
		return Report{}, fmt.Errorf("ledger: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var report Report
	var wrong []string
	complain := func(what, content string) { wrong = append(wrong, fmt.Sprintf("%s: %q", what, content)) }
	for content, e := range l.entries {
		times := found[content]
		if times > 1 {
			report.Duplicated++
			complain(fmt.Sprintf("there %d times", times), content)
		}
		switch {
		case e.acknowledged:
			report.Acknowledged++
			if times > 0 {
				report.Present++
			} else {
				complain("acknowledged but missing", content)
			}
		case e.unknown:
			report.Unknown++
			if times > 0 {
				report.Arrived++
			}
		default:
			report.Refused++
			if times > 0 {
				complain("refused but there", content)
			}
		}
	}
	for content := range found {
		if _, known := l.entries[content]; !known {
			complain("nobody has written it", content)
		}
	}
	return report, complaint(report, wrong)
}

// complaint turns what is wrong into one error, nil when that is nothing.
func complaint(report Report, wrong []string) error {
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	errs := []error{fmt.Errorf("ledger: %d messages are wrong (%v)", len(wrong), report)}
	for _, text := range wrong[:min(len(wrong), maxNamed)] {
		errs = append(errs, errors.New(text))
	}
	return errors.Join(errs...)
}

// contents counts the messages of a session by their content.
func contents(ctx context.Context, manager *store.Manager, sessionID string) (map[string]int, error) {
	found := make(map[string]int)
	params := store.GetMessagesParams{
		SessionID: sessionID, Reader: store.Reader{AgentID: "ledger", Admin: true}, Limit: 1000, After: new(store.MessageCursor),
	}
	for {
		page, err := manager.GetMessages(ctx, params)
		if err != nil {
			return nil, err
		}
		for _, message := range page.Messages {
			found[message.Content]++
		}
		if !page.HasMore {
			return found, nil
		}
		params.After = &page.Next
	}
}
