package ledger

import "syscall"

// otherScope is the boot of this Mac: its processes all see each other.
func otherScope() string {
	boot, err := syscall.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return boot
}
