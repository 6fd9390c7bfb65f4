package demo

import (
	"fmt"
	"sync"
	"unicode/utf8"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// keptFindings bounds how many mismatches a report spells out: one damaged row is seen by every reader, in every way of
// reading.
const keptFindings = 100

// Mismatch is one difference between what a reader got and what it must get.
type Mismatch struct {
	Session           string `json:"session"`            // its id in the store
	TranscriptSession string `json:"transcript_session"` // its id in the transcript
	Reader            string `json:"reader"`
	Read              string `json:"read"`                 // the way of reading
	MessageID         int64  `json:"message_id,omitempty"` // 0 where it is not about one message
	Line              int    `json:"line,omitempty"`       // of the transcript, 0 for a message that is not in it
	Problem           string `json:"problem"`
}

// Error puts it into one line, so that a mismatch can be returned as an error.
func (m Mismatch) Error() string {
	text := fmt.Sprintf("reader %s, %s", m.Reader, m.Read)
	if m.Session != "" {
		text = fmt.Sprintf("session %s (%s), %s", m.Session, m.TranscriptSession, text)
	}
	if m.MessageID != 0 {
		text += fmt.Sprintf(", message %d", m.MessageID)
	}
	if m.Line != 0 {
		text += fmt.Sprintf(" (line %d)", m.Line)
	}
	return text + ": " + m.Problem
}

// findings collects mismatches. All methods may be called by several goroutines.
type findings struct {
	mu    sync.Mutex
	kept  []Mismatch
	total int
}

func (f *findings) add(m Mismatch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total++
	if len(f.kept) < keptFindings {
		f.kept = append(f.kept, m)
	}
}

func (f *findings) all() (kept []Mismatch, total int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kept, f.total
}

// where names a read in a mismatch.
type where struct {
	sessionID, transcriptID, reader, read string
}

func (p *playback) where(transcriptID string, r reader, read string) where {
	return where{p.sessions[transcriptID].ID, transcriptID, r.String(), read}
}

// mismatch is about a message of the transcript.
func (w where) mismatch(about *written, problem string) Mismatch {
	m := w.strange(about.id, problem)
	m.Line = about.entry.Line
	return m
}

// strange is about a message that has no place in this read.
func (w where) strange(id int64, problem string) Mismatch {
	m := w.general(problem)
	m.MessageID = id
	return m
}

// general is about the read as a whole.
func (w where) general(problem string) Mismatch {
	return Mismatch{
		Session: w.sessionID, TranscriptSession: w.transcriptID, Reader: w.reader, Read: w.read, Problem: problem,
	}
}

// compareAll reports how a list of messages differs from the list that must come, in this order.
func (p *playback) compareAll(at where, want []*written, got []store.Message) {
	expected := make(map[int64]*written, len(want))
	for _, w := range want {
		expected[w.id] = w
	}
	found := make(map[int64]bool, len(got))
	complete := len(got) == len(want)
	for i := range got {
		m := &got[i]
		w := expected[m.ID]
		switch {
		case found[m.ID]:
			p.findings.add(at.strange(m.ID, "it comes twice"))
			complete = false
		case w == nil:
			p.findings.add(at.strange(m.ID, fmt.Sprintf("this reader must not get it (%s by %s)", m.Visibility, m.Sender)))
			complete = false
		default:
			p.compare(at, w, m)
		}
		found[m.ID] = true
	}
	for _, w := range want {
		if !found[w.id] {
			p.findings.add(at.mismatch(w, "it is missing"))
			complete = false
		}
	}
	for i := range want {
		if complete && got[i].ID != want[i].id {
			p.findings.add(at.mismatch(want[i], fmt.Sprintf("it belongs to place %d, where message %d is", i+1, got[i].ID)))
			return
		}
	}
}

// compare reports how a message differs from its entry.
func (p *playback) compare(at where, w *written, got *store.Message) {
	entry := w.entry
	report := func(format string, arguments ...any) {
		p.findings.add(at.mismatch(w, fmt.Sprintf(format, arguments...)))
	}
	if got.SessionID != at.sessionID {
		report("it says that it belongs to session %s", got.SessionID)
	}
	if got.Sender != entry.Sender {
		report("sender is %q, not %q", got.Sender, entry.Sender)
	}
	if want := clean(entry.SenderType); got.SenderType != want {
		report("sender_type is %q, not %q", got.SenderType, want)
	}
	if got.Visibility != store.Visibility(entry.Visibility) {
		report("visibility is %q, not %q", got.Visibility, entry.Visibility)
	}
	if want := clean(entry.Content); got.Content != want {
		report("content differs from character %d on (%d bytes instead of %d)",
			firstDifference(got.Content, want), len(got.Content), len(want))
	}
	if !sameJSON(got.Metadata, entry.Metadata) {
		report("metadata is %.200s, not %.200s", orNone(got.Metadata), orNone(entry.Metadata))
	}
	if !got.Timestamp.Equal(entry.Time) {
		report("timestamp is %s, not %s", store.AdaptDatetimeISO(got.Timestamp), store.AdaptDatetimeISO(entry.Time))
	}
	if got.MessageType != store.MessageTypeAgentResponse {
		report("message_type is %q, not the default", got.MessageType)
	}
	switch {
	case entry.Parent == nil && got.ParentMessageID != nil:
		report("parent is message %d, not none", *got.ParentMessageID)
	case entry.Parent != nil && got.ParentMessageID == nil:
		report("parent is missing, it must be message %d", p.written[entry.Parent.index].id)
	case entry.Parent != nil && *got.ParentMessageID != p.written[entry.Parent.index].id:
		report("parent is message %d, not %d", *got.ParentMessageID, p.written[entry.Parent.index].id)
	}
}

// firstDifference returns the number of the first character in which two texts differ, from 1.
func firstDifference(a, b string) int {
	n := 1
	for a != "" && b != "" {
		x, size := utf8.DecodeRuneInString(a)
		y, other := utf8.DecodeRuneInString(b)
		if x != y {
			break
		}
		a, b = a[size:], b[other:]
		n++
	}
	return n
}

func orNone(text []byte) string {
	if len(text) == 0 {
		return "nothing"
	}
	return string(text)
}
