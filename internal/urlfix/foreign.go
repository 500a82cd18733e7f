package urlfix

import "slices"

// A plain postgres:// string has libpq's meaning. But tools write parameters of their own into it,
// which libpq refuses. Those are translated as their tool means them, if it is clear which tool
// that is.

// foreignTools are the tools whose parameters are found in plain URIs.
var foreignTools = []*tool{
	&prismaTool, &nodeTool, &postgresjsTool, &asyncpgTool, &railsTool, &djangoTool, &ectoTool, &jdbcTool, &libpqGoTool,
	&migrateTool, &symfonyTool, &sqlxTool, &crystalTool, &yugabyteTool,
}

// foreignUse is one tool's rule for a key.
type foreignUse struct {
	tool *tool
	rule *rule
}

// foreignKeys are the keys of all those tools that are not libpq's as well.
var foreignKeys = func() map[string][]foreignUse {
	m := make(map[string][]foreignUse)
	for _, t := range foreignTools {
		for key, r := range t.rules {
			if _, ours := keywords[key]; !ours && !IsSetting(key) && !slices.Contains(t.private, key) {
				m[key] = append(m[key], foreignUse{t, r})
			}
		}
	}
	return m
}()

// foreignRule stands for a key whose tool is not known yet.
var foreignRule = &rule{name: "parameter"}

// findTools decides whose the foreign keys of the string are: the tools that know all of them, or,
// if there is none, each tool for the keys that it alone knows.
func (b *builder) findTools() {
	first := true
	for _, one := range b.p.pairs {
		if b.rules.lookup(one.key) != foreignRule {
			continue
		}
		if users := foreignKeys[one.key]; first {
			first = false
			for _, u := range users {
				b.seen.tools = append(b.seen.tools, u.tool)
			}
		} else {
			b.seen.tools = keepUsers(b.seen.tools, users)
		}
	}
	if len(b.seen.tools) == 0 {
		b.seen.tools = foreignTools
	}
}

// keepUsers returns the tools that know one more key.
func keepUsers(tools []*tool, users []foreignUse) []*tool {
	var kept []*tool
	for _, u := range users {
		if slices.Contains(tools, u.tool) {
			kept = append(kept, u.tool)
		}
	}
	return kept
}

// foreign returns the rule of the tools that know key, and refuses if they do not agree on it.
func (b *builder) foreign(one pair) (*rule, *Error) {
	if b.seen.tools == nil {
		b.findTools()
	}
	var found *rule
	var name string
	for _, u := range foreignKeys[one.key] {
		if !slices.Contains(b.seen.tools, u.tool) {
			continue
		}
		if found != nil && found != u.rule {
			return nil, fault(CodeAmbiguous, u.rule.name, one.pos, "it means one thing to "+name+", and another to "+u.tool.name,
				"leave it out, or add pgsafe_dialect with the dialect that the string is written in")
		}
		found, name = u.rule, u.tool.name
	}
	return found, nil
}
