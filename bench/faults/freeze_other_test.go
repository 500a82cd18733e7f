//go:build !linux

package faults_test

// frozen needs all processes of a server.
var frozen []fault
