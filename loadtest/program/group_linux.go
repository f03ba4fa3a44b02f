package program

import "syscall"

// OwnGroup starts a process in a group of its own, so that an interrupt from the terminal reaches the program alone,
// which then stops its processes in order. A program that is killed takes them along.
func OwnGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
