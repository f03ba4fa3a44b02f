//go:build !linux

package main

import "syscall"

// ownGroup starts a process in a group of its own, so that an interrupt from the terminal reaches the run alone,
// which then stops its processes in order.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
