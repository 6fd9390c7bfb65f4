package demo

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/internal/count"
	"github.com/sharedcontext/sharedcontext/v2/internal/latency"
)

// printedMismatches bounds the mismatches in a text; JSON holds more.
const printedMismatches = 20

// verdict is only said when it was checked and is true.
const verdict = "everything written is there, in order, and visible to exactly the right readers"

// Report says what a demonstration did and found.
type Report struct {
	OK         bool   `json:"ok"`              // everything was checked, and nothing differs
	Error      string `json:"error,omitempty"` // what kept it from getting to the end
	Server     string `json:"server"`
	Transcript string `json:"transcript"`

	Connections int `json:"connections"` // of the pool
	Sessions    int `json:"sessions"`    // of the transcript, as are the next two
	Agents      int `json:"agents"`
	Messages    int `json:"messages"`
	Written     int `json:"messages_written"`
	Cleaned     int `json:"texts_cleaned"` // contents from which the rule for texts removes something

	Reads        int64 `json:"reads"`             // pairs of session and reader, each read in every way
	Lists        int64 `json:"lists"`             // active lists, each by another reader
	MessagesRead int64 `json:"messages_verified"` // each time that a message was read and compared

	Operations Operations `json:"operations"`

	MismatchCount int        `json:"mismatch_count"`
	Mismatches    []Mismatch `json:"mismatches"` // the first of them

	WriteSeconds   float64         `json:"write_seconds"`
	ReadSeconds    float64         `json:"read_seconds"`
	ElapsedSeconds float64         `json:"elapsed_seconds"`
	WriteRate      float64         `json:"messages_written_per_second"`
	ReadRate       float64         `json:"messages_verified_per_second"`
	AddMessage     latency.Summary `json:"add_message_ms"`
	ReadPage       latency.Summary `json:"read_page_ms"`
	// ConnectionWait is how long an agent waited for one of the connections, on average. It is part of AddMessage: the
	// agents are many and the connections few.
	ConnectionWait float64 `json:"connection_wait_ms"`
	Deleted        int     `json:"sessions_deleted"`
}

// report fills in what is known at the end, which may have come early.
func (p *playback) report(r *Report, elapsed time.Duration, err error) {
	for _, entry := range p.transcript.Entries {
		if clean(entry.Content) != entry.Content {
			r.Cleaned++
		}
	}
	r.Reads, r.Lists, r.MessagesRead = p.reads.Load(), p.lists.Load(), p.messagesRead.Load()
	r.Mismatches, r.MismatchCount = p.findings.all()
	if r.Mismatches == nil {
		r.Mismatches = []Mismatch{}
	}
	r.ElapsedSeconds = elapsed.Seconds()
	if r.WriteSeconds > 0 {
		r.WriteRate = float64(r.Written) / r.WriteSeconds
	}
	if r.ReadSeconds > 0 {
		r.ReadRate = float64(r.MessagesRead) / r.ReadSeconds
	}
	r.AddMessage, r.ReadPage = p.adds.Summary(), p.pages.Summary()
	if err != nil {
		r.Error = err.Error()
	}
	r.OK = err == nil && p.complete && r.MismatchCount == 0 && r.Written == r.Messages
}

// Verdict is the last line for a person.
func (r *Report) Verdict() string {
	switch {
	case r.OK:
		return verdict
	case r.MismatchCount > 0:
		return fmt.Sprintf("the store is wrong: %s", count.Of(int64(r.MismatchCount), "difference"))
	default:
		return "not everything was checked"
	}
}

// WriteText writes the report for a person, without the verdict.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	row := func(name, format string, arguments ...any) {
		fmt.Fprintf(&b, "%-12s"+format+"\n", append([]any{name}, arguments...)...)
	}
	row("server", "%s", r.Server)
	row("transcript", "%s: %s, %s, %s", r.Transcript, count.Of(int64(r.Sessions), "session"), count.Of(int64(r.Agents), "agent"),
		count.Of(int64(r.Messages), "message"))
	row("written", "%s in %.2f s, %s/s, by %s at once over %s", count.Of(int64(r.Written), "message"), r.WriteSeconds,
		count.Group(int64(r.WriteRate)), count.Of(int64(r.Agents), "agent"), count.Of(int64(r.Connections), "connection"))
	row("verified", "%s read in %.2f s, %s/s: %s of a session by a reader, %s",
		count.Of(r.MessagesRead, "message"), r.ReadSeconds, count.Group(int64(r.ReadRate)), count.Of(r.Reads, "reading"),
		count.Of(r.Lists, "list")+" of sessions")
	if r.Operations.Kinds > 0 {
		row("operations", "%s", r.Operations.text())
	}
	if r.Cleaned > 0 {
		row("cleaned", "%s without control characters or outer white space", count.Of(int64(r.Cleaned), "text"))
	}
	if r.Deleted > 0 {
		row("deleted", "%s; the audit rows about them stay", count.Of(int64(r.Deleted), "session"))
	}
	row("elapsed", "%.2f s", r.ElapsedSeconds)
	if r.Error == "" {
		row("differences", "%s", count.Group(int64(r.MismatchCount)))
	} else {
		row("differences", "%s until the error; not everything was checked", count.Group(int64(r.MismatchCount)))
	}
	fmt.Fprintf(&b, "\n%-12s%10s%10s%10s%10s%10s\n", "latency, ms", "p50", "p95", "p99", "max", "calls")
	for _, line := range []struct {
		name string
		latency.Summary
	}{{"add message", r.AddMessage}, {"read a page", r.ReadPage}} {
		fmt.Fprintf(&b, "%-12s%10.2f%10.2f%10.2f%10.2f%10s\n", line.name, line.P50, line.P95, line.P99, line.Max, count.Group(line.Calls))
	}
	fmt.Fprintf(&b, "adding a message includes %.2f ms of waiting for one of the connections, on average\n", r.ConnectionWait)
	for i, m := range r.Mismatches {
		if i == 0 {
			b.WriteString("\n")
		}
		if i == printedMismatches {
			fmt.Fprintf(&b, "… and %s more\n", count.Group(int64(r.MismatchCount-i)))
			break
		}
		fmt.Fprintf(&b, "difference: %s\n", m.Error())
	}
	_, err := io.WriteString(w, b.String())
	return err
}
