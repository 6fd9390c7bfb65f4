// Package schema tells ent of the tables that the operations of the comparison read and write. The migrations of the
// project make them; ent only maps them.
package schema

import (
	"encoding/json"

	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
)

func metadata() ent.Field { return field.JSON("metadata", json.RawMessage{}).Optional() }

// Session is the table sessions.
type Session struct{ ent.Schema }

// Annotations names the table.
func (Session) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Table("sessions")}
}

// Fields are its columns.
func (Session) Fields() []ent.Field {
	return []ent.Field{
		field.String("id"),
		field.Text("purpose"),
		field.Time("created_at"),
		field.Time("updated_at"),
		field.Bool("is_active"),
		field.String("created_by"),
		metadata(),
	}
}

// Edges are what refers to it.
func (Session) Edges() []ent.Edge { return []ent.Edge{edge.To("messages", Message.Type)} }

// Message is the table messages.
type Message struct{ ent.Schema }

// Annotations names the table.
func (Message) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Table("messages")}
}

// Fields are its columns.
func (Message) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("id"),
		field.String("session_id"),
		field.String("sender"),
		field.String("sender_type"),
		field.Text("content"),
		field.String("visibility"),
		field.String("message_type"),
		metadata(),
		field.Time("timestamp"),
		field.Int64("parent_message_id").Optional().Nillable(),
	}
}

// Edges are what it refers to.
func (Message) Edges() []ent.Edge {
	return []ent.Edge{edge.From("session", Session.Type).Ref("messages").Field("session_id").Unique().Required()}
}

// AgentMemory is the table agent_memory.
type AgentMemory struct{ ent.Schema }

// Annotations names the table.
func (AgentMemory) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Table("agent_memory")}
}

// Fields are its columns.
func (AgentMemory) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("id"),
		field.String("agent_id"),
		field.String("session_id").Optional().Nillable(),
		field.String("key"),
		field.Text("value"),
		metadata(),
		field.Time("created_at"),
		field.Time("updated_at"),
		field.Time("expires_at").Optional().Nillable(),
	}
}

// AuditLog is the table audit_log.
type AuditLog struct{ ent.Schema }

// Annotations names the table.
func (AuditLog) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Table("audit_log")}
}

// Fields are its columns.
func (AuditLog) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("id"),
		field.Time("timestamp"),
		field.String("event_type"),
		field.String("agent_id"),
		field.String("session_id").Optional().Nillable(),
		metadata(),
	}
}
