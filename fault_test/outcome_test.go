package fault_test

import (
	"context"
	"errors"
	"testing"

	"github.com/sharedcontext/sharedcontext/v2/internal/faultproxy"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

// moments are when the connection is cut, and how often a write is there then: -1 where that is chance.
var moments = map[string]struct {
	when    faultproxy.Moment
	arrived int64
}{
	"before the server sees it": {faultproxy.BeforeServer, 0},
	"while the server runs it":  {faultproxy.WhileRunning, -1},
	"before the answer arrives": {faultproxy.BeforeAnswer, 1},
}

func TestWriteIsCut(t *testing.T) {
	t.Parallel()
	for name, moment := range moments {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, f := setup(t)
			f.proxy.Cut("once only", moment.when)
			_, err := f.AddMessage(ctx, f.session, message("once only", ""))
			wantUnknown(t, err)
			if !errors.As(err, new(*store.DatabaseConnectionError)) {
				t.Errorf("want a DatabaseConnectionError, got %T: %v", err, err)
			}
			if moment.arrived >= 0 {
				f.wantCount(t, "once only", moment.arrived)
			}
			f.wantWorking(t)
		})
	}
}

func TestWriteWithKeyIsCut(t *testing.T) {
	t.Parallel()
	for name, moment := range moments {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, f := setup(t)
			f.proxy.Cut("with a key", moment.when)
			_, err := f.AddMessage(ctx, f.session, message("with a key", "key"))
			wantRetryable(t, err)
			if _, err := f.AddMessage(ctx, f.session, message("with a key", "key")); err != nil {
				t.Error(err)
			}
			f.wantCount(t, "with a key", 1)
		})
	}
}

func TestReadIsCut(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for name, moment := range moments {
		f.proxy.Cut(f.session, moment.when)
		_, err := f.GetMessages(ctx, readAll(f.session))
		wantRetryable(t, err)
		if _, err := f.GetMessages(ctx, readAll(f.session)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is sent by ExecuteQuery may write, whatever it looks like, unless its transaction says otherwise.
func TestOwnStatementIsCut(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	f.proxy.Cut("SELECT 'own'", faultproxy.BeforeAnswer)
	_, err := store.ExecuteQuery(ctx, "SELECT 'own'")
	wantUnknown(t, err)
	for _, text := range []string{"SELECT 'own'", "commit"} {
		f.proxy.Cut(text, faultproxy.BeforeAnswer)
		wantRetryable(t, f.InTxOptions(ctx, store.TxOptions{ReadOnly: true}, func(ctx context.Context) error {
			_, err := store.ExecuteQuery(ctx, "SELECT 'own'")
			return err
		}))
	}
}

// Until a transaction commits, nothing of it stays.
func TestTransactionIsCut(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	add := func(ctx context.Context) error {
		for _, content := range []string{"first", "second"} {
			if _, err := f.AddMessage(ctx, f.session, message(content, "")); err != nil {
				return err
			}
		}
		return nil
	}
	nested := func(ctx context.Context) error { return f.InTx(ctx, add) }
	for _, text := range []string{"begin", "first", "second", "savepoint sp_1", "release savepoint"} {
		for _, moment := range moments {
			fired := f.proxy.Cut(text, moment.when)
			wantRetryable(t, f.InTx(ctx, nested))
			<-fired
			f.wantCount(t, "first", 0)
		}
	}

	// A function that does not look at errors cannot commit either.
	f.proxy.Cut("first", faultproxy.BeforeAnswer)
	wantRetryable(t, f.InTx(ctx, func(ctx context.Context) error {
		_ = add(ctx)
		return nil
	}))
	f.wantCount(t, "first", 0)
	if err := f.InTx(ctx, nested); err != nil {
		t.Error(err)
	}
	f.wantCount(t, "first", 1)
	f.wantWorking(t)
}

func TestCommitIsCut(t *testing.T) {
	t.Parallel()
	for name, moment := range moments {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, f := setup(t)
			f.proxy.Cut("commit", moment.when)
			wantUnknown(t, f.InTx(ctx, func(ctx context.Context) error {
				_, err := f.AddMessage(ctx, f.session, message("kept", ""))
				return err
			}))
			if moment.arrived >= 0 {
				f.wantCount(t, "kept", moment.arrived)
			}
			f.wantWorking(t)
		})
	}
}

// A batch takes a transaction of its own, and may be repeated when all of its messages have a key.
func TestBatchIsCut(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for _, moment := range moments {
		batch := []store.NewMessage{message("one", "1"), message("two", "2")}
		f.proxy.Cut("commit", moment.when)
		_, err := f.AddMessages(ctx, f.session, batch)
		wantRetryable(t, err)
		if _, err := f.AddMessages(ctx, f.session, batch); err != nil {
			t.Error(err)
		}
		f.wantCount(t, "one", 1)
		f.wantCount(t, "two", 1)
	}
	f.proxy.Cut("commit", faultproxy.BeforeAnswer)
	_, err := f.AddMessages(ctx, f.session, []store.NewMessage{message("one", "1"), message("three", "")})
	wantUnknown(t, err)
	f.wantCount(t, "three", 1)
	f.proxy.Cut("four", faultproxy.BeforeAnswer)
	_, err = f.AddMessages(ctx, f.session, []store.NewMessage{message("four", ""), message("five", "")})
	wantUnknown(t, err)
	f.wantCount(t, "five", 1)
}

// Upkeep goes on where it was.
func TestUpkeepIsCut(t *testing.T) {
	t.Parallel()
	ctx, f := setup(t)
	for name, run := range map[string]func() error{
		"seal":   func() error { _, err := f.SealAudit(ctx); return err },
		"verify": func() error { _, err := f.VerifyAudit(ctx); return err },
		"clean":  func() error { _, err := f.Cleanup(ctx); return err },
	} {
		text := "commit"
		if name == "verify" {
			text = "audit_seal"
		}
		fired := f.proxy.Cut(text, faultproxy.BeforeAnswer)
		wantRetryable(t, run())
		<-fired
		if err := run(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
