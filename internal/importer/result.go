package importer

import "time"

// Result says what an import or a verification did.
type Result struct {
	File        string `json:"file"`
	Access      string `json:"access"`
	Fingerprint string `json:"fingerprint"`
	// SchemaVersion is that of the file, 0 where it does not say.
	SchemaVersion int64 `json:"schema_version"`
	// Missing are tables and columns that the file lacks, NotImported those that it has beyond the first generation's.
	Missing     []string `json:"missing"`
	NotImported []string `json:"not_imported"`

	DryRun bool `json:"dry_run"`
	// AlreadyImported is when this file was imported before, in which case nothing was written.
	AlreadyImported *time.Time     `json:"already_imported,omitempty"`
	Settings        Settings       `json:"settings"`
	Tables          []*TableResult `json:"tables"`
	// Rules has how often each rule was applied, Report the name of the file that has each case.
	Rules  map[Rule]int64 `json:"rules"`
	Report string         `json:"report,omitempty"`

	CopySeconds   float64 `json:"copy_seconds"`
	VerifySeconds float64 `json:"verify_seconds"`
	Verified      bool    `json:"verified"` // whether source and target were compared
	Pass          bool    `json:"pass"`
}

// TableResult is what became of the rows of a table: Source + Placeholders = Inserted + Present + Dropped, unless rows collide.
type TableResult struct {
	Table        string `json:"table"`
	Source       int64  `json:"source"`
	Placeholders int64  `json:"placeholders"`
	Inserted     int64  `json:"inserted"` // with DryRun: would be
	Present      int64  `json:"present"`  // was there before with the same values
	Dropped      int64  `json:"dropped"`
	Repaired     int64  `json:"repaired"` // rows that are not exactly what they were

	Collisions     int64 `json:"collisions,omitempty"`
	FirstCollision any   `json:"first_collision,omitempty"`

	// What verification found: rows compared, digests of both sides, and the id of the first row that differs.
	Compared       int64  `json:"compared"`
	Found          int64  `json:"found"`
	SourceChecksum string `json:"source_checksum,omitempty"`
	TargetChecksum string `json:"target_checksum,omitempty"`
	FirstDifferent any    `json:"first_different,omitempty"`
	Difference     string `json:"difference,omitempty"`
	Pass           bool   `json:"pass"`
}
