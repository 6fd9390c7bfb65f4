package store

import "slices"

// Visibility says who may see a message.
type Visibility string

// The levels of visibility, as the database stores them.
const (
	// VisibilityPublic shows a message to everyone.
	VisibilityPublic Visibility = "public"
	// VisibilityPrivate shows a message to its sender.
	VisibilityPrivate Visibility = "private"
	// VisibilityAgentOnly shows a message to its sender and to readers whose AgentType equals its sender type.
	VisibilityAgentOnly Visibility = "agent_only"
	// VisibilityAdminOnly shows a message to admins, not even to a sender who is none. Only admins may write it.
	VisibilityAdminOnly Visibility = "admin_only"
)

var visibilities = []Visibility{VisibilityPublic, VisibilityPrivate, VisibilityAgentOnly, VisibilityAdminOnly}

// Valid reports whether v is one of the four levels.
func (v Visibility) Valid() bool { return slices.Contains(visibilities, v) }

// Reader is who reads. Every read of messages takes one and returns only what that reader may see.
type Reader struct {
	// AgentID names the agent: 1 to 100 letters, digits, "-" and "_", the first a letter or digit. Required.
	AgentID string
	// AgentType is the agent's kind, for instance "claude", which opens the agent_only messages of that kind. Without it
	// a reader sees of these only its own, as in the first generation.
	AgentType string
	// Admin sees everything.
	Admin bool
}

// validate checks a reader, and cleans its type as the types of senders are cleaned.
func (r *Reader) validate() error {
	if err := agentIDInput("agent_id", r.AgentID); err != nil {
		return err
	}
	var err error
	r.AgentType, err = optionalTextInput("agent_type", r.AgentType, MaxSenderTypeLength)
	return err
}

// sight is what a reader sees of the messages of a session, in the form that every statement on messages takes: the
// levels it sees whoever the sender is, those it sees where it is the sender itself, and those it sees where the sender
// is of its own type. The rule of visibility is here and nowhere else; a statement only compares.
type sight struct {
	seen, own, kin []string
}

// see returns the sight of a reader, narrowed to the levels of filter; a nil filter narrows nothing. Its lists are shared
// and only to be read.
func (r Reader) see(filter *Visibility) sight {
	kind := sightKind{admin: r.Admin, typed: r.AgentType != ""}
	if filter != nil {
		kind.filter = *filter
	}
	return sights[kind]
}

// sightKind is what the sight of a reader depends on. An empty filter narrows nothing.
type sightKind struct {
	admin, typed bool
	filter       Visibility
}

// sights are all that there are, so that no call has to make its own.
var sights = func() map[sightKind]sight {
	sights := make(map[sightKind]sight)
	for _, filter := range append([]Visibility{""}, visibilities...) {
		for _, admin := range []bool{false, true} {
			for _, typed := range []bool{false, true} {
				kind := sightKind{admin, typed, filter}
				sights[kind] = kind.sight()
			}
		}
	}
	return sights
}()

// sight is the rule of visibility. A filter never widens: a level that the reader may not see yields nothing.
func (k sightKind) sight() sight {
	var s sight
	for _, level := range visibilities {
		if k.filter != "" && k.filter != level {
			continue
		}
		name := string(level)
		switch {
		case k.admin || level == VisibilityPublic:
			s.seen = append(s.seen, name)
		case level == VisibilityPrivate:
			s.own = append(s.own, name)
		case level == VisibilityAgentOnly:
			s.own = append(s.own, name)
			if k.typed {
				s.kin = append(s.kin, name)
			}
		}
	}
	return s
}

// visibilityInput accepts the four levels, and nothing as public.
func visibilityInput(v Visibility) (Visibility, error) {
	if v == "" {
		return VisibilityPublic, nil
	}
	if !v.Valid() {
		return "", unknownVisibility()
	}
	return v, nil
}

// visibilityFilterInput accepts the four levels, and nothing as no filter.
func visibilityFilterInput(v Visibility) (*Visibility, error) {
	if v == "" {
		return nil, nil
	}
	if !v.Valid() {
		return nil, unknownVisibility()
	}
	return &v, nil
}

func unknownVisibility() error {
	return &ValidationError{
		Field: "visibility", Rule: "enum", Limit: "one of public, private, agent_only, admin_only", Got: "an unknown level",
	}
}
