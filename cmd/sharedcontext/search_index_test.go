package main

import (
	"testing"

	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestSearchIndex(t *testing.T) {
	withDatabase(t, storetest.Config(t).URL)
	call(t, "search-index").want(t, exitUsage, "", "say build, drop or status")
	call(t, "search-index", "status").want(t, exitOK, "no search index", "")
	call(t, "search-index", "build").want(t, exitOK, "search index of the messages before 2", "")
	r := call(t, "search-index", "status", "--json")
	r.want(t, exitOK, `"ready": true`, "")
	var index store.SearchIndex
	r.decode(t, &index)
	if !index.Ready || index.Before.IsZero() || index.Bytes == 0 {
		t.Errorf("index %+v", index)
	}
	call(t, "search-index", "drop").want(t, exitOK, "no search index", "")

	withDatabase(t, storetest.EmptyConfig(t).URL)
	call(t, "search-index", "build").want(t, exitFailure, "", `run "sharedcontext migrate up" first`)
}
