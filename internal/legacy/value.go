package legacy

// Kind is a storage class of SQLite. Any column can hold any of them.
type Kind uint8

// The storage classes.
const (
	Null Kind = iota
	Integer
	Real
	Text
	Blob
)

func (k Kind) String() string { return [...]string{"NULL", "INTEGER", "REAL", "TEXT", "BLOB"}[k] }

// Value is a value as it is in the file. Text may be invalid UTF-8 and may hold NUL.
type Value struct {
	Kind  Kind
	Int   int64   // of Integer
	Real  float64 // of Real
	Bytes string  // of Text and Blob
}
