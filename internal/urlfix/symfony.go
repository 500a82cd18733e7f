package urlfix

// symfonyTool are the parameters of Doctrine and Symfony in a plain URI.
var symfonyTool = tool{name: "Doctrine", rules: table()}
