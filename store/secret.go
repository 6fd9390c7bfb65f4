package store

import (
	"fmt"
	"log/slog"
)

// redacted stands wherever a secret would.
const redacted = "***"

// Secret is a value that is never shown: printing it with any verb of fmt, logging it through log/slog, or encoding it as
// JSON, XML or text gives "***". [Secret.Reveal] gives the value itself.
//
// fmt cannot see these methods through an unexported field: a struct that holds a Secret in one should hold a pointer.
type Secret string

// Reveal returns the value. Use it where the secret is needed, never in a message.
func (s Secret) Reveal() string { return string(s) }

// String returns "***", or "" for the empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString returns what %#v prints, without the value.
func (s Secret) GoString() string { return fmt.Sprintf("store.Secret(%q)", s.String()) }

// Format implements [fmt.Formatter], so that no verb reaches the value.
func (s Secret) Format(f fmt.State, verb rune) { formatRedacted(f, verb, s.String(), s.GoString()) }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements [encoding.TextMarshaler], which JSON and XML use as well.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// formatRedacted writes text for every verb: quoted for %q and as Go source for %#v. A type that implements
// fmt.Formatter through it has no verb left, %x and %d included, that shows its fields.
func formatRedacted(f fmt.State, verb rune, text, source string) {
	switch {
	case verb == 'q':
		fmt.Fprintf(f, "%q", text)
	case verb == 'v' && f.Flag('#'):
		fmt.Fprint(f, source)
	default:
		fmt.Fprint(f, text)
	}
}
