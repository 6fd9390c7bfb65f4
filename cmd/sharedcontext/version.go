package main

import (
	"fmt"
	"runtime/debug"
)

// version says what was built, of which commit, with which Go.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	return versionOf(info)
}

func versionOf(info *debug.BuildInfo) string {
	settings := make(map[string]string, len(info.Settings))
	for _, setting := range info.Settings {
		settings[setting.Key] = setting.Value
	}
	text := info.Main.Version
	if text == "" {
		text = "(devel)"
	}
	if commit := settings["vcs.revision"]; commit != "" {
		text += fmt.Sprintf(" commit %.12s", commit)
		if settings["vcs.modified"] == "true" {
			text += " with changes"
		}
	}
	return text + " " + info.GoVersion
}
