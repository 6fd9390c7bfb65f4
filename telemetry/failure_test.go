package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// What the driver says of an error may hold a value; what is shown of it does not, and is of the same kind.
func TestErrorsWithoutValues(t *testing.T) {
	t.Parallel()
	const value = "tango-uniform-42"
	for _, test := range []struct {
		err   error
		kind  string
		shown string
	}{
		{fmt.Errorf("%s: %w", value, context.Canceled), kindCancelled, "context canceled"},
		{fmt.Errorf("%s: %w", value, context.DeadlineExceeded), kindTimeout, "context deadline exceeded"},
		{fmt.Errorf("%s: %w", value, &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}), kindConnection, "read: i/o timeout"},
		{fmt.Errorf("%s: %w", value, io.ErrUnexpectedEOF), kindConnection, "use of closed network connection"},
		{fmt.Errorf("%s: %w", value, io.EOF), kindConnection, "use of closed network connection"},
		{fmt.Errorf("%s: %w", value, errors.New("conn closed")), kindConnection, "use of closed network connection"},
		{fmt.Errorf("unable to encode %s", value), kindOther, "may repeat values"},
		{&pgconn.PgError{Severity: "ERROR", Code: "22P02", Message: value, Detail: value, Hint: value, Where: value}, kindOther, "SQLSTATE 22P02"},
	} {
		shown := withoutValues(test.err)
		if strings.Contains(fmt.Sprintf("%v %+v %#v", shown, shown, shown), value) || !strings.Contains(shown.Error(), test.shown) {
			t.Errorf("of %q is shown %q, want %q", test.err, shown, test.shown)
		}
		if kind := kindOf(test.err); kind != test.kind {
			t.Errorf("%q is of kind %s, want %s", test.err, kind, test.kind)
		}
		if kind := kindOf(shown); kind != test.kind {
			t.Errorf("what is shown, %q, is of kind %s, want %s", shown, kind, test.kind)
		}
	}
	if err := withoutValues(nil); err != nil {
		t.Errorf("no error became %v", err)
	}
}
