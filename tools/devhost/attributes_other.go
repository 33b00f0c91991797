//go:build !linux

package devhost

import "syscall"

// attributes are never used: Skip says why no machine boots here.
func attributes() *syscall.SysProcAttr { return nil }
