// Package ent holds what ent needs: its schema, written by hand, and in gen what it generates from that.
package ent

//go:generate go tool ent generate --target ./gen --feature sql/upsert,sql/execquery ./schema
