package pgserver

// For the tests in package pgserver_test.
var (
	MajorInPath  = majorInPath
	BasePrefix   = basePrefix
	TemplateName = templateName
	MemoryDir    = memoryDir
)
