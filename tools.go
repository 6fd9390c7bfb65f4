//go:build tools

// Package tools pins the version of the code generator in go.mod: `make generate` runs exactly this one.
package tools

import _ "github.com/sqlc-dev/sqlc/cmd/sqlc"
