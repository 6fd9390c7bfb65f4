// Package canonical says when a value of a first-generation SQLite file and one in PostgreSQL are the same value, so that
// both sides can be compared row by row and by one checksum.
//
//	text, bytes   their bytes
//	times         microseconds since 1970 in UTC
//	JSON          what [JSON] returns
//	booleans      0 and 1
//	NULL          differs from every value
package canonical

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
)

// Kind is what a column holds.
type Kind uint8

// The kinds.
const (
	Text Kind = iota
	Time
	JSON
	Bool
	Int
	Bytes
)

// Column is a column of both generations.
type Column struct {
	Name string
	Kind Kind
}

// Table is a table of both generations. Its first column is its key.
type Table struct {
	Name    string
	Columns []Column
}

// The tables, in the order of their references.
var (
	Sessions = Table{"sessions", []Column{
		{"id", Text}, {"purpose", Text}, {"created_at", Time}, {"updated_at", Time}, {"is_active", Bool}, {"created_by", Text},
		{"metadata", JSON},
	}}
	Messages = Table{"messages", []Column{
		{"id", Int}, {"session_id", Text}, {"sender", Text}, {"sender_type", Text}, {"content", Text}, {"visibility", Text},
		{"message_type", Text}, {"metadata", JSON}, {"timestamp", Time}, {"parent_message_id", Int},
	}}
	AgentMemory = Table{"agent_memory", []Column{
		{"id", Int}, {"agent_id", Text}, {"session_id", Text}, {"key", Text}, {"value", Text}, {"metadata", JSON},
		{"created_at", Time}, {"updated_at", Time}, {"expires_at", Time},
	}}
	AuditLog = Table{"audit_log", []Column{
		{"id", Int}, {"timestamp", Time}, {"event_type", Text}, {"agent_id", Text}, {"session_id", Text}, {"resource", Text},
		{"action", Text}, {"result", Text}, {"metadata", JSON},
	}}
	SecureTokens = Table{"secure_tokens", []Column{
		{"id", Int}, {"token_id", Text}, {"encrypted_jwt", Bytes}, {"agent_id", Text}, {"expires_at", Time}, {"created_at", Time},
	}}
	Tables = []*Table{&Sessions, &Messages, &AgentMemory, &AuditLog, &SecureTokens}
)

// Column returns the position of a column, -1 when there is none of this name.
func (t *Table) Column(name string) int {
	for i, column := range t.Columns {
		if column.Name == name {
			return i
		}
	}
	return -1
}

// Value is a value of a column; its kind says which field counts. The zero Value is an empty text or a 0.
type Value struct {
	Null bool
	Int  int64  // of Time (microseconds since 1970), Bool (0 or 1) and Int
	Text string // of Text, Bytes and JSON, which need not be canonical
}

// Row is a row of a table, with a value for each of its columns.
type Row []Value

// Append appends the canonical bytes of a row, which no other row of the table has. JSON that does not parse is taken as
// it is.
func (t *Table) Append(dst []byte, row Row) []byte {
	for i, column := range t.Columns {
		dst = AppendValue(dst, column.Kind, row[i])
	}
	return dst
}

// AppendValue appends the canonical bytes of one value.
func AppendValue(dst []byte, kind Kind, value Value) []byte {
	if value.Null {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	switch kind {
	case Time, Bool, Int:
		return binary.BigEndian.AppendUint64(dst, uint64(value.Int))
	case JSON:
		if text, err := CanonicalJSON(value.Text); err == nil {
			value.Text = text
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(value.Text)))
	return append(dst, value.Text...)
}

// Checksum is the digest of rows in their order.
type Checksum struct {
	hash hash.Hash
	rows int64
}

// NewChecksum returns the checksum of no rows.
func NewChecksum() *Checksum { return &Checksum{hash: sha256.New()} }

// Add adds the canonical bytes of a row.
func (c *Checksum) Add(row []byte) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(row)))
	c.hash.Write(length[:])
	c.hash.Write(row)
	c.rows++
}

// Rows returns how many rows were added.
func (c *Checksum) Rows() int64 { return c.rows }

// String returns the SHA-256 of all rows in hexadecimal.
func (c *Checksum) String() string { return hex.EncodeToString(c.hash.Sum(nil)) }
