package demo

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// mergeMetadata has several writers merge their keys into the metadata of one session at once.
func (o *operations) mergeMetadata(ctx context.Context, at where) error {
	want := map[string]any{"run": o.run}
	var keys []string
	for i := range retries {
		key := fmt.Sprintf("writer_%d", i)
		keys = append(keys, key)
		want[key] = o.chosen[i%len(o.chosen)].ID
	}
	err := sideBySide(ctx, o, keys, func(ctx context.Context, key string) error {
		o.called("MergeSessionMetadata")
		_, err := o.manager.MergeSessionMetadata(ctx, at.sessionID, map[string]any{key: want[key]})
		return err
	})
	if err != nil {
		return err
	}
	want["run"] = "again " + o.run
	o.called("MergeSessionMetadata")
	merged, err := o.manager.MergeSessionMetadata(ctx, at.sessionID, map[string]any{"run": want["run"]})
	if err != nil {
		return err
	}
	if err := o.pause(ctx, at); err != nil {
		return err
	}
	o.called("GetSession")
	detail, err := o.manager.GetSession(ctx, at.sessionID, o.admin.forStore())
	if err != nil {
		return err
	}
	text, err := json.Marshal(want)
	if err != nil {
		return err
	}
	for _, got := range []json.RawMessage{merged, detail.Metadata} {
		if !sameJSON(got, text) {
			o.wrong(at, "the session's metadata is %.300s, not %.300s", orNone(got), text)
		}
	}
	o.called("MergeSessionMetadata")
	_, err = o.manager.MergeSessionMetadata(ctx, unknownSession, want)
	return o.refused(at, "metadata for an unknown session", err, store.ErrSessionNotFound)
}
