package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"
)

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{}, {"migrate"}, {"migrate", "up"}, {"migrate", "down"}, {"migrate", "status"}, {"migrate", "force"}, {"health"}, {"cleanup"},
		{"dev"}, {"demo"}, {"load"}, {"bench"},
	} {
		r := call(t, append(args, "--help")...)
		r.want(t, exitOK, "Examples:\n  sharedcontext "+strings.Join(args, " "), "")
	}
	call(t).want(t, exitOK, "Available Commands:", "")
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ args, problem string }{
		{"--nonsense", "unknown flag: --nonsense"},
		{"nonsense", `unknown command "nonsense"`},
		{"helth", "did you mean health?"},
		{"health --nonsense", "unknown flag"},
		{"health extra", `unknown command "extra"`},
		{"health --json=perhaps", "invalid argument"},
		{"cleanup extra", `unknown command "extra"`},
		{"migrate", "say up, down, status or force"},
		{"migrate sideways", `unknown command "sideways"`},
		{"migrate force", "accepts 1 arg(s), received 0"},
		{"migrate force x", `"x" is not the number of a migration`},
		{"migrate force -- -1", `"-1" is not the number of a migration`},
		{"migrate down --to -1", "invalid argument"},
		{"migrate down", "confirm with --yes"},
		{"dev go test", "write -- before the command: sharedcontext dev -- go test"},
		{"demo --transcript", "flag needs an argument"},
		{"demo --rate 7", "unknown flag"},
	} {
		r := call(t, strings.Fields(test.args)...)
		r.want(t, exitUsage, "", test.problem)
		if strings.Count(r.err, "\n") != 1 || !strings.HasPrefix(r.err, "sharedcontext: ") || !strings.Contains(r.err, "--help)") || r.out != "" {
			t.Errorf("%s: it is not one line on stderr:\n%s%s", test.args, r.out, r.err)
		}
	}
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want string
	}{
		{errors.New("plain"), "plain"},
		{errors.Join(errors.New("one"), errors.New("two\n  and more\n")), "one; two; and more"},
		{errors.New("failed to connect:\n\thost one: refused\n\thost two: refused"), "failed to connect: host one: refused; host two: refused"},
		{fmt.Errorf("add message: %w", context.Canceled), "interrupted; add message: context canceled"},
	} {
		if got := oneLine(test.err); got != test.want {
			t.Errorf("oneLine(%q) = %q, want %q", test.err, got, test.want)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	call(t, "--version").want(t, exitOK, "sharedcontext ", "")
	for _, test := range []struct {
		info debug.BuildInfo
		want string
	}{
		{debug.BuildInfo{GoVersion: "go1.26"}, "(devel) go1.26"},
		{debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "v2.0.0"}}, "v2.0.0 go1.26"},
		{debug.BuildInfo{GoVersion: "go1.26", Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"},
		}}, "(devel) commit 0123456789ab with changes go1.26"},
	} {
		if got := versionOf(&test.info); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
