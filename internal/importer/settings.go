package importer

// OnOrphan says what becomes of rows whose session the file does not hold.
type OnOrphan string

// The choices.
const (
	// Placeholder makes a session of the missing id and keeps all rows.
	Placeholder OnOrphan = "placeholder"
	// Skip drops messages and memory into the report; audit rows lose the id of the session.
	Skip OnOrphan = "skip"
)

// Settings are what the result depends on besides the file. They are kept in the database with the file's fingerprint, so
// that verification knows them.
type Settings struct {
	OnOrphan OnOrphan `json:"on_orphan"`
	RemapIDs bool     `json:"remap_ids"`
	// Offsets are added to the ids of each table, when they are given anew.
	Offsets map[string]int64 `json:"offsets,omitempty"`
	// SessionIDs are the new ids of sessions whose id the database had already.
	SessionIDs map[string]string `json:"session_ids,omitempty"`
	// Taken are the ids in the file of rows that are not imported, by table: the database had their unique key already.
	Taken map[string][]int64 `json:"taken,omitempty"`
}
