package importer

import (
	"context"
	"strconv"

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
	"github.com/sharedcontext/sharedcontext/v2/internal/legacy"
)

// second is one second in the unit of times.
const second = 1_000_000

// item is a row of the file and what it becomes.
type item struct {
	id      any           // in the file
	row     canonical.Row // nil for a row that is dropped
	changes []Change
}

// converter turns rows of the file into rows of the new schema. What it does depends on the file and the settings alone,
// so that a second run does the same.
type converter struct {
	file     *legacy.File
	settings Settings
	// latest is the latest time of a session, for rows that have no time at all.
	latest int64
	// losers are the rows that a newer one of the same key replaces, with the id of that.
	losers map[*canonical.Table]map[int64]int64
	// taken are the rows whose key the database has already, when ids are given anew.
	taken  map[*canonical.Table]map[int64]bool
	absent map[*canonical.Table][]bool // columns that the file does not have
}

func newConverter(ctx context.Context, file *legacy.File, settings Settings) (*converter, error) {
	c := &converter{file: file, settings: settings, losers: make(map[*canonical.Table]map[int64]int64), absent: make(map[*canonical.Table][]bool)}
	for _, table := range canonical.Tables {
		c.absent[table] = make([]bool, len(table.Columns))
		for i, column := range table.Columns {
			c.absent[table][i] = !file.Has(table, column.Name)
		}
	}
	c.takenRows()
	err := file.Rows(ctx, &canonical.Sessions, func(row *legacy.Row) error {
		for _, name := range []string{"created_at", "updated_at"} {
			if t, ok := micros(row.Values[canonical.Sessions.Column(name)]); ok {
				c.latest = max(c.latest, t)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := c.findLosers(ctx, &canonical.AgentMemory, []string{"agent_id", "session_id", "key"}, "updated_at"); err != nil {
		return nil, err
	}
	return c, c.findLosers(ctx, &canonical.SecureTokens, []string{"token_id"}, "created_at")
}

// takenRows takes over which rows the database had already.
func (c *converter) takenRows() {
	c.taken = make(map[*canonical.Table]map[int64]bool)
	for _, table := range canonical.Tables {
		ids := make(map[int64]bool)
		for _, id := range c.settings.Taken[table.Name] {
			ids[id] = true
		}
		c.taken[table] = ids
	}
}

// findLosers keeps the newest of the rows that have the same key, and of several newest the one of the highest id.
func (c *converter) findLosers(ctx context.Context, table *canonical.Table, key []string, newest string) error {
	losers := make(map[int64]int64)
	c.losers[table] = losers
	column := table.Column(newest)
	return c.file.Duplicates(ctx, table, key, func(group []legacy.Row) error {
		winner := 0
		for i := range group {
			t, _ := micros(group[i].Values[column])
			if best, _ := micros(group[winner].Values[column]); t >= best {
				winner = i
			}
		}
		for i := range group {
			if i != winner {
				losers[group[i].Values[0].Int] = group[winner].Values[0].Int
			}
		}
		return nil
	})
}

// each calls fn with what becomes of each row of a table, and, for sessions, with the placeholders behind them.
func (c *converter) each(ctx context.Context, table *canonical.Table, fn func(it item) error) error {
	err := c.file.Rows(ctx, table, func(row *legacy.Row) error { return fn(c.convert(table, row)) })
	if err != nil || table != &canonical.Sessions || c.settings.OnOrphan == Skip {
		return err
	}
	return c.file.MissingSessions(ctx, func(id legacy.Value) error { return fn(c.placeholder(id)) })
}

// placeholder is the session that stands in for one that rows refer to and the file does not hold. It is active, as the
// cleanup would delete an inactive one with all that belongs to it.
func (c *converter) placeholder(id legacy.Value) item {
	name, _ := convertName(id, conversions[&canonical.Sessions][0])
	name = c.sessionID(name)
	return item{
		id: plain(id),
		row: canonical.Row{
			{Text: name}, {Text: "Placeholder for a session that the imported file does not hold"}, {Int: c.latest}, {Int: c.latest},
			{Int: 1}, {Text: "import"}, {Text: `{"placeholder": true}`},
		},
		changes: []Change{{Table: "sessions", ID: plain(id), Action: Created, Rule: RulePlaceholder, Column: "id", After: name}},
	}
}

// sessionID returns the id that a session has in the database.
func (c *converter) sessionID(name string) string {
	if id, found := c.settings.SessionIDs[name]; found {
		return id
	}
	return name
}

// convert returns what becomes of a row.
func (c *converter) convert(table *canonical.Table, source *legacy.Row) item {
	it := item{row: make(canonical.Row, len(table.Columns))}
	it.id = plain(source.Values[0])
	if rule := c.drops(table, source); rule != "" {
		return it.drop(table, rule, source.Values, c.dropReason(table, source))
	}
	for i, conversion := range conversions[table] {
		if rules := c.column(table, i, conversion, source, &it.row[i]); len(rules) > 0 && !c.absent[table][i] {
			for _, rule := range rules {
				it.change(table, i, rule, source.Values[i])
			}
		}
	}
	c.completeTimes(table, source, &it)
	c.relate(table, source, &it)
	return it
}

// drop leaves nothing of a row but its report.
func (it item) drop(table *canonical.Table, rule Rule, values []legacy.Value, after any) item {
	return item{id: it.id, changes: []Change{{
		Table: table.Name, ID: it.id, Action: Dropped, Rule: rule, After: after, Row: wholeRow(table, values),
	}}}
}

// change notes what a rule did to a column.
func (it *item) change(table *canonical.Table, column int, rule Rule, before legacy.Value) {
	c := table.Columns[column]
	it.changes = append(it.changes, Change{
		Table: table.Name, ID: it.id, Action: Repaired, Rule: rule, Column: c.Name, Before: plain(before), After: written(c.Kind, it.row[column]),
	})
}

// drops returns the rule by which a row cannot be imported, "" when it can.
func (c *converter) drops(table *canonical.Table, source *legacy.Row) Rule {
	switch table {
	case &canonical.Sessions:
		if source.Values[0].Kind == legacy.Null {
			return RuleNoKey
		}
	case &canonical.SecureTokens:
		for _, name := range []string{"token_id", "encrypted_jwt"} {
			if source.Values[table.Column(name)].Kind == legacy.Null {
				return RuleNoKey
			}
		}
	case &canonical.Messages, &canonical.AgentMemory:
		if c.settings.OnOrphan == Skip && c.orphan(table, source) {
			return RulePlaceholder
		}
	}
	if source.Values[0].Kind == legacy.Integer {
		if _, lost := c.losers[table][source.Values[0].Int]; lost {
			return RuleDuplicate
		}
		if c.taken[table][source.Values[0].Int] {
			return RuleTaken
		}
	}
	return ""
}

// dropReason names the row that stays, where there is one.
func (c *converter) dropReason(table *canonical.Table, source *legacy.Row) any {
	if winner, lost := c.losers[table][source.Values[0].Int]; lost {
		return "row " + strconv.FormatInt(winner, 10) + " is newer"
	}
	return nil
}

// orphan says whether a row refers to a session that is not there. A message always refers to one.
func (c *converter) orphan(table *canonical.Table, source *legacy.Row) bool {
	i := table.Column("session_id")
	return i >= 0 && !source.SessionFound && (table == &canonical.Messages || source.Values[i].Kind != legacy.Null)
}

// column converts a value into its column and returns the rules that it took.
func (c *converter) column(table *canonical.Table, i int, conversion conversion, source *legacy.Row, into *canonical.Value) (rules []Rule) {
	value := source.Values[i]
	switch conversion.class {
	case classText, className:
		if value.Kind == legacy.Null && (conversion.nullable || conversion.null != "") {
			if into.Text, into.Null = conversion.null, conversion.nullable; !into.Null {
				rules = []Rule{RuleNull}
			}
			return rules
		}
		if conversion.class == className {
			var name string
			name, rules = convertName(value, conversion)
			into.Text = name
			if table.Columns[i].Name == "session_id" || table == &canonical.Sessions && i == 0 {
				into.Text = c.sessionID(name)
			}
			if into.Text != name && table == &canonical.Sessions {
				rules = append(rules, RuleNewID)
			}
			return rules
		}
		into.Text, rules = convertText(value, conversion)
	case classLevel:
		into.Text, rules = convertLevel(value)
	case classBool:
		var truth bool
		if truth, rules = convertBool(value); truth {
			into.Int = 1
		}
	case classJSON:
		*into, rules = convertJSON(value)
	case classID:
		into.Int = value.Int + c.settings.Offsets[table.Name]
	case classBytes:
		into.Text = value.Bytes
		if value.Kind == legacy.Integer || value.Kind == legacy.Real {
			into.Text, rules = cleanText(value)
		}
	}
	return rules // times and parents take other columns into account
}

// relate resolves what a row refers to.
func (c *converter) relate(table *canonical.Table, source *legacy.Row, it *item) {
	if table == &canonical.Messages {
		i := table.Column("parent_message_id")
		it.row[i] = canonical.Value{Null: true}
		switch source.Parent {
		case legacy.ParentThere:
			it.row[i] = canonical.Value{Int: source.Values[i].Int + c.settings.Offsets[table.Name]}
		case legacy.ParentMissing:
			it.change(table, i, RuleParent, source.Values[i])
		case legacy.ParentElsewhere:
			it.change(table, i, RuleElsewhere, source.Values[i])
		}
	}
	if !c.orphan(table, source) {
		return
	}
	i := table.Column("session_id")
	action := Attached
	if c.settings.OnOrphan == Skip { // an audit row: others are dropped
		it.row[i] = canonical.Value{Null: true}
		action = Repaired
	}
	it.changes = append(it.changes, Change{
		Table: table.Name, ID: it.id, Action: action, Rule: RulePlaceholder, Column: "session_id",
		Before: plain(source.Values[i]), After: written(canonical.Text, it.row[i]),
	})
}
