// Package appcommands knows application commands, the commands that users see in Discord: it reads a file of them, finds
// what Discord would refuse, and says how the commands that an application has differ from those of a file. It does no
// I/O. Everything in it is safe for concurrent use.
package appcommands
