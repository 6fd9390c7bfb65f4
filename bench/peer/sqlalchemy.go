package peer

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// SQLAlchemy is the name of the tool that is only there where Python has its packages.
const SQLAlchemy = "SQLAlchemy"

//go:embed sqlalchemy_peer.py
var sqlalchemyProgram string

// sqlalchemyOwn has a Python process run the operations. It is used by one goroutine at a time.
type sqlalchemyOwn struct {
	requests *json.Encoder
	answers  *json.Decoder
	elapsed  time.Duration
}

// openSQLAlchemy starts the interpreter that BENCH_PYTHON names, else python3. Where it or one of the packages of
// requirements.txt is missing there is no peer, which is no error.
func openSQLAlchemy(ctx context.Context, url string, connections int) (operations *sqlalchemyOwn, closeAll func(), err error) {
	python := os.Getenv("BENCH_PYTHON")
	if python == "" {
		python = "python3"
	}
	probe := exec.CommandContext(ctx, python, "-c", "import asyncpg, greenlet, sqlalchemy") //nolint:gosec // the user names the interpreter
	if probe.Run() != nil {
		return nil, nil, nil //nolint:nilerr // what is not there is left out
	}
	command := exec.CommandContext(ctx, python, "-c", sqlalchemyProgram, url, strconv.Itoa(connections)) //nolint:gosec // as above
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := command.Start(); err != nil {
		return nil, nil, err
	}
	return &sqlalchemyOwn{requests: json.NewEncoder(in), answers: json.NewDecoder(out)}, func() {
		_ = in.Close() // the program ends when there is no more to read
		_, _ = io.Copy(io.Discard, out)
		_ = command.Wait()
	}, nil
}

// Elapsed returns how long the latest operation took within Python.
func (o *sqlalchemyOwn) Elapsed() time.Duration { return o.elapsed }

// call runs a function of the program. What it does not find is notFound.
func (o *sqlalchemyOwn) call(result any, notFound error, operation string, arguments ...any) error {
	if err := o.requests.Encode(map[string]any{"operation": operation, "arguments": arguments}); err != nil {
		return err
	}
	var answer struct {
		Result   json.RawMessage `json:"result"`
		NotFound bool            `json:"not_found"`
		Error    string          `json:"error"`
		Seconds  float64         `json:"seconds"`
	}
	if err := o.answers.Decode(&answer); err != nil {
		return fmt.Errorf("the Python program has ended: %w", err)
	}
	o.elapsed = time.Duration(answer.Seconds * float64(time.Second))
	switch {
	case answer.NotFound:
		return notFound
	case answer.Error != "":
		return errors.New(answer.Error)
	}
	return json.Unmarshal(answer.Result, result)
}

// withoutNull makes metadata that is a JSON null absent.
func withoutNull(metadata *json.RawMessage) {
	if string(*metadata) == "null" {
		*metadata = nil
	}
}

func messagesWithoutNull(messages []store.Message) []store.Message {
	for i := range messages {
		withoutNull(&messages[i].Metadata)
	}
	return messages
}

func readerArgument(reader store.Reader) any {
	return map[string]any{"id": reader.AgentID, "type": reader.AgentType, "admin": reader.Admin}
}

func (o *sqlalchemyOwn) AddMessage(ctx context.Context, message store.Message) (store.Message, error) {
	added, err := o.AddMessages(ctx, message.SessionID, []store.Message{message})
	if err != nil {
		return message, err
	}
	return added[0], nil
}

func (o *sqlalchemyOwn) AddMessages(_ context.Context, sessionID string, messages []store.Message) ([]store.Message, error) {
	added := make([]store.Message, len(messages))
	copy(added, messages)
	err := o.call(&added, store.ErrSessionNotFound, "add_messages", sessionID, messages)
	return added, err
}

func (o *sqlalchemyOwn) GetMessages(_ context.Context, sessionID string, reader store.Reader, offset int) (store.MessagePage, error) {
	var result struct {
		Total    int64           `json:"total"`
		Messages []store.Message `json:"messages"`
	}
	err := o.call(&result, store.ErrSessionNotFound, "get_messages", sessionID, readerArgument(reader), offset)
	return pageByOffset(messagesWithoutNull(result.Messages), offset, result.Total), err
}

func (o *sqlalchemyOwn) GetMessagesAfter(_ context.Context, sessionID string, reader store.Reader, after store.MessageCursor) (store.MessagePage, error) {
	var messages []store.Message
	err := o.call(&messages, store.ErrSessionNotFound, "get_messages_after", sessionID, readerArgument(reader), after.Timestamp, after.ID)
	return pageAfter(messagesWithoutNull(messages), after), err
}

func (o *sqlalchemyOwn) GetSession(_ context.Context, sessionID string, reader store.Reader) (store.SessionDetail, error) {
	var detail store.SessionDetail
	err := o.call(&detail, store.ErrSessionNotFound, "get_session", sessionID, readerArgument(reader))
	withoutNull(&detail.Metadata)
	messagesWithoutNull(detail.Messages)
	return detail, err
}

func (o *sqlalchemyOwn) SetMemory(_ context.Context, entry store.MemoryEntry, ttl time.Duration) (store.MemoryEntry, error) {
	err := o.call(&entry, nil, "set_memory", entry.AgentID, entry.Key, entry.Value, entry.Metadata, ttl.Microseconds())
	return entry, err
}

func (o *sqlalchemyOwn) GetMemory(_ context.Context, agentID, key string) (store.MemoryEntry, error) {
	var entry store.MemoryEntry
	err := o.call(&entry, store.ErrMemoryNotFound, "get_memory", agentID, key)
	withoutNull(&entry.Metadata)
	return entry, err
}

func (o *sqlalchemyOwn) ListMemory(_ context.Context, agentID string) (store.MemoryPage, error) {
	var entries []store.MemoryInfo
	err := o.call(&entries, nil, "list_memory", agentID)
	return memoryPage(entries), err
}
