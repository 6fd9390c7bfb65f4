package demo

import (
	"context"
	"errors"
	"fmt"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

var errRollback = errors.New("taken back")

// transact does the same in a transaction that is taken back, of which nothing may stay, and in one that is not.
func (o *operations) transact(ctx context.Context, at where) error {
	var inside store.Session
	key := operationPrefix + "transaction"
	work := func(ctx context.Context) error {
		var err error
		o.called("CreateSession")
		inside, err = o.manager.CreateSession(ctx, store.CreateSessionParams{Purpose: "to be taken back", CreatedBy: o.agent})
		if err != nil {
			return err
		}
		o.called("AddMessage")
		if _, err = o.manager.AddMessage(ctx, at.sessionID, store.NewMessage{Sender: o.agent, Content: "to be taken back"}); err != nil {
			return err
		}
		o.called("SetMemory")
		_, err = o.manager.SetMemory(ctx, store.SetMemoryParams{AgentID: o.agent, Key: key, Value: "to be taken back"})
		return err
	}
	o.called("InTx")
	err := o.manager.InTx(ctx, func(ctx context.Context) error {
		if err := work(ctx); err != nil {
			return err
		}
		return errRollback
	})
	if !errors.Is(err, errRollback) {
		return fmt.Errorf("a transaction that was to be taken back: %w", err)
	}
	if err := o.pause(ctx, at); err != nil {
		return err
	}
	o.called("GetSession")
	_, err = o.manager.GetSession(ctx, inside.ID, o.admin.forStore())
	if err := o.refused(at, "a session of a transaction that was taken back", err, store.ErrSessionNotFound); err != nil {
		return err
	}
	o.called("GetMemory")
	_, err = o.manager.GetMemory(ctx, store.GetMemoryParams{AgentID: o.agent, Key: key})
	if err := o.refused(at, "memory of a transaction that was taken back", err, store.ErrMemoryNotFound); err != nil {
		return err
	}
	if err := o.readOwn(ctx, at, o.admin); err != nil {
		return err
	}

	o.called("InTxOptions")
	err = o.manager.InTxOptions(ctx, store.TxOptions{ReadOnly: true}, func(ctx context.Context) error {
		o.called("CountMessages")
		counts, err := o.manager.CountMessages(ctx, at.sessionID, o.admin.forStore())
		if err == nil && counts.Total != int64(len(o.own)) {
			o.wrong(at, "a transaction counts %d messages, not %d", counts.Total, len(o.own))
		}
		return err
	})
	if err != nil {
		return err
	}
	return o.manager.InTx(ctx, func(ctx context.Context) error {
		o.called("InTx")
		return o.setMemory(ctx, at, memoryName{o.agent, "", key}, store.SetMemoryParams{Value: "kept " + o.run})
	})
}
