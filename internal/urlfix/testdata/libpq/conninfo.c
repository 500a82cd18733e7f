/*
 * Says what libpq makes of connection strings, for libpq_test.go.
 *
 * All texts end with NUL. First come the keywords that this libpq knows, and an empty text. Then, for each string on
 * standard input: "error", or "ok" and keyword and value of each option that the string gives; and an empty text.
 * Nothing is taken from the environment or from files.
 */
#include <stdio.h>
#include <stdlib.h>
#include <libpq-fe.h>

static void
say(const char *text)
{
	fputs(text, stdout);
	putchar('\0');
}

static void
end(void)
{
	say("");
	fflush(stdout);
}

static void
keywords(void)
{
	PQconninfoOption *all = PQconndefaults();

	for (PQconninfoOption *o = all; o && o->keyword; o++)
		say(o->keyword);
	PQconninfoFree(all);
	end();
}

static void
parse(const char *conninfo)
{
	char	   *message = NULL;
	PQconninfoOption *given = PQconninfoParse(conninfo, &message);

	say(given ? "ok" : "error");
	for (PQconninfoOption *o = given; o && o->keyword; o++)
	{
		if (o->val)
		{
			say(o->keyword);
			say(o->val);
		}
	}
	PQconninfoFree(given);
	PQfreemem(message);
	end();
}

int
main(void)
{
	char	   *line = NULL;
	size_t		size = 0;

	keywords();
	while (getdelim(&line, &size, '\0', stdin) > 0)
		parse(line);
	free(line);
	return 0;
}
