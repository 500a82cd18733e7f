package urlfix

// tls refuses the combinations that libpq refuses and pgx lets pass with less protection than they
// ask for (pqConnectOptions2, fe-connect.c).
func (b *builder) tls() *Error {
	d := b.d
	if b.seen.mode.ok && b.seen.modeByAlias.ok && b.seen.mode.value != b.seen.modeByAlias.value {
		return fault(CodeConflict, "sslmode", max(b.seen.mode.pos, b.seen.modeByAlias.pos),
			"ssl and sslmode contradict each other", "leave ssl out")
	}
	if b.seen.modeByAlias.ok {
		d.change("ssl", "became sslmode")
		if b.seen.modeByAlias.value == "require" && !b.seen.mode.ok && b.rules.tool == nil {
			d.warn("ssl",
				"as in libpq, the connection is encrypted and the server's certificate is not checked; "+
					"sslmode=verify-full checks it")
		}
	}
	mode := ""
	if p := param(d, "sslmode"); p != nil {
		mode = p.Value
	}
	root := param(d, "sslrootcert")
	if root != nil && root.Value == "system" {
		switch mode {
		case "":
			mode = "verify-full"
			b.set(&d.Params, "sslmode", mode)
			d.change("sslrootcert", "the system's roots imply sslmode=verify-full")
		case "verify-full":
		default:
			return fault(CodeValue, "sslmode", b.modePos(), "it is too weak for sslrootcert=system", "write sslmode=verify-full")
		}
	}
	if mode == "verify-ca" && root == nil {
		return fault(CodeValue, "sslmode", b.modePos(),
			"verify-ca needs sslrootcert: without it, any public certificate would pass",
			"name the file of your certificate authority as sslrootcert, or write sslmode=verify-full")
	}
	if p := param(d, "sslnegotiation"); p != nil && p.Value == "direct" &&
		(mode == "" || mode == "disable" || mode == "allow" || mode == "prefer") {
		return fault(CodeValue, "sslnegotiation", -1, "direct needs sslmode=require or stronger",
			"add sslmode=require, or sslmode=verify-full to check the server's certificate")
	}
	return b.versions()
}

// plainConflict refuses a plain URI in which ssl and sslmode contradict each other, before a tool
// whose keys stand next to them decides for one of the two.
func (b *builder) plainConflict() *Error {
	mode, alias := b.seen.mode, b.seen.modeByAlias
	if b.rules.tool == nil && mode.ok && alias.ok && mode.value != alias.value {
		return contradictsSSL(max(mode.pos, alias.pos))
	}
	return nil
}

// versions refuses a range of TLS versions that is empty.
func (b *builder) versions() *Error {
	low, high := param(b.d, "ssl_min_protocol_version"), param(b.d, "ssl_max_protocol_version")
	if low != nil && high != nil && low.Value > high.Value { // TLSv1 < TLSv1.1 < ...
		return fault(CodeValue, "ssl_min_protocol_version", -1, "it is greater than ssl_max_protocol_version",
			"leave one of the two out")
	}
	return nil
}

// modePos is where the sslmode comes from, under either name.
func (b *builder) modePos() int {
	if b.seen.mode.ok {
		return b.seen.mode.pos
	}
	return b.seen.modeByAlias.pos
}

// protocol refuses a minimum above the maximum.
func (b *builder) protocol() *Error {
	low, high := param(b.d, "min_protocol_version"), param(b.d, "max_protocol_version")
	if low != nil && high != nil && high.Value == "3.0" && low.Value != "3.0" {
		return fault(CodeValue, "min_protocol_version", -1, "it is greater than max_protocol_version",
			"leave one of the two out")
	}
	return nil
}
