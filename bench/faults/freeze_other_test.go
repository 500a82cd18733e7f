//go:build !unix

package faults_test

// frozen needs signals that stop a process.
var frozen []fault
