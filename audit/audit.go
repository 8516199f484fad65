package audit

// Row is one statistic of the audit's table.
type Row struct {
	Part   string `json:"part"`   // A, B or C
	Name   string `json:"name"`   // of the statistic
	Found  string `json:"found"`  // its value
	Accept string `json:"accept"` // what passes
	Pass   bool   `json:"pass"`
}
