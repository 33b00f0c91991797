//go:build !linux

package pipeline

// HideEnvironment does nothing here: only Linux shows a process's environment as
// a file.
func HideEnvironment() {}
