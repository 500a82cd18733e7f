//go:build !linux

package pgserver

func memoryDir() string { return "" }
