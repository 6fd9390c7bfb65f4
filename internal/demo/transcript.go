package demo

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// maxLine bounds a line of a transcript, in bytes. The longest message that can be stored takes less than a tenth of it.
const maxLine = 10_000_000

// Entry is one message of a transcript.
type Entry struct {
	Line       int    // of the file, the first is 1
	Ref        int64  // its name in the transcript, for replies
	Session    string // the session's id in the transcript
	Sender     string
	SenderType string
	Visibility string
	Content    string
	Metadata   json.RawMessage // a JSON object, nil for none
	Parent     *Entry          // the message that it answers, nil for none
	Time       time.Time       // to the microsecond

	index int
}

// Conversation is one session of a transcript, with its messages in the order of the file.
type Conversation struct {
	ID        string
	Purpose   string
	CreatedBy string // the sender of its first message
	Entries   []*Entry
	Admins    map[string]bool // the senders that write admin_only messages in it

	line int // where it begins
}

// Agent is one sender of a transcript, with its messages in the order of the file, whatever session they belong to.
type Agent struct {
	ID      string
	Entries []*Entry
}

// Transcript is what agents wrote. Everything in it has been checked.
type Transcript struct {
	Name          string
	Entries       []*Entry
	Conversations []*Conversation
	Agents        []*Agent

	conversations map[string]*Conversation
}

// LineError says what is wrong with one line of a transcript.
type LineError struct {
	File    string
	Line    int
	Problem string
}

// Error names the file, the line and the problem.
func (e *LineError) Error() string { return fmt.Sprintf("%s: line %d: %s", e.File, e.Line, e.Problem) }

// ReadTranscriptFile is [ReadTranscript] of a file.
func ReadTranscriptFile(name string) (*Transcript, error) {
	file, err := os.Open(name) //nolint:gosec // reading the file that the user names is its purpose
	if err != nil {
		return nil, fmt.Errorf("read the transcript: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	return ReadTranscript(name, file)
}

// ReadTranscript reads and checks a transcript: JSON lines, each an object with exactly these fields.
//
//	ref          the number of this message, unique in the file
//	session      session_ and 16 lower-case hexadecimal digits
//	purpose      what the session is for, the same on all its lines
//	sender       the agent's id
//	sender_type  the agent's kind
//	visibility   public, private, agent_only or admin_only
//	content      the text
//	metadata     an object; null or missing for none
//	parent       the ref of the message that this one answers, in the same session on an earlier line; null or missing
//	time         Unix seconds with up to six decimals
//
// Numbers of refs need no order; what replies need is that the parent stands before them, which is also why agents that
// wait for each other's messages cannot wait forever. Other fields are refused, because a misspelt one would be a
// message without its parent or its metadata. Empty lines are skipped.
//
// The first line that breaks a rule is a [*LineError], and nothing of the transcript is returned.
func ReadTranscript(name string, r io.Reader) (*Transcript, error) {
	b := &builder{
		transcript: &Transcript{Name: name, conversations: make(map[string]*Conversation)},
		byRef:      make(map[int64]*Entry), agents: make(map[string]*Agent),
	}
	lines := bufio.NewReaderSize(r, 64<<10)
	for number := 1; ; number++ {
		line, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, errLongLine) {
			return nil, &LineError{name, number, err.Error()}
		}
		if err != nil {
			return nil, fmt.Errorf("read the transcript: %s: line %d: %w", name, number, err)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := b.add(number, line); err != nil {
			return nil, &LineError{name, number, err.Error()}
		}
	}
	if len(b.transcript.Entries) == 0 {
		return nil, fmt.Errorf("read the transcript: %s holds no message", name)
	}
	return b.transcript, nil
}

var errLongLine = fmt.Errorf("longer than %d bytes", maxLine)

// readLine returns the next line, which stays valid until the next call only, and io.EOF behind the last one.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return endOfLine(line, err)
	}
	long := bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.ReadSlice('\n')
		if long = append(long, line...); len(long) > maxLine {
			return nil, errLongLine
		}
	}
	return endOfLine(long, err)
}

// endOfLine accepts a last line without a line break.
func endOfLine(line []byte, err error) ([]byte, error) {
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	return line, err
}

// builder puts the lines of a transcript together.
type builder struct {
	transcript *Transcript
	byRef      map[int64]*Entry
	agents     map[string]*Agent
}

// add checks a line by itself and against those before it.
func (b *builder) add(number int, text []byte) error {
	line, err := parseLine(text)
	if err != nil {
		return err
	}
	entry := &Entry{
		Line: number, Ref: *line.Ref, Session: *line.Session, Sender: *line.Sender, SenderType: *line.SenderType,
		Visibility: *line.Visibility, Content: *line.Content, Metadata: line.Metadata, Time: line.time,
		index: len(b.transcript.Entries),
	}
	if other := b.byRef[entry.Ref]; other != nil {
		return fmt.Errorf("ref %d is already that of line %d", entry.Ref, other.Line)
	}
	if line.Parent != nil {
		entry.Parent = b.byRef[*line.Parent]
		switch {
		case *line.Parent == entry.Ref:
			return errors.New("parent is the message itself")
		case entry.Parent == nil:
			return fmt.Errorf("parent %d is not the ref of an earlier line", *line.Parent)
		case entry.Parent.Session != entry.Session:
			return fmt.Errorf("parent %d is on line %d in another session, %s", *line.Parent, entry.Parent.Line, entry.Parent.Session)
		}
	}

	conversation := b.transcript.conversations[entry.Session]
	if conversation == nil {
		conversation = &Conversation{
			ID: entry.Session, Purpose: *line.Purpose, CreatedBy: entry.Sender, Admins: make(map[string]bool), line: number,
		}
		b.transcript.conversations[entry.Session] = conversation
		b.transcript.Conversations = append(b.transcript.Conversations, conversation)
	} else if conversation.Purpose != *line.Purpose {
		return fmt.Errorf("purpose differs from that of the same session on line %d", conversation.line)
	}
	agent := b.agents[entry.Sender]
	if agent == nil {
		agent = &Agent{ID: entry.Sender}
		b.agents[entry.Sender] = agent
		b.transcript.Agents = append(b.transcript.Agents, agent)
	}

	b.byRef[entry.Ref] = entry
	b.transcript.Entries = append(b.transcript.Entries, entry)
	conversation.Entries = append(conversation.Entries, entry)
	agent.Entries = append(agent.Entries, entry)
	if entry.Visibility == adminOnly {
		conversation.Admins[entry.Sender] = true
	}
	return nil
}
