//go:build unix && !linux

package program

import "syscall"

// OwnGroup starts a process in a group of its own, so that an interrupt from the terminal reaches the program alone,
// which then stops its processes in order.
func OwnGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
