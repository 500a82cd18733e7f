package urlfix_test

import (
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestPlaceholders(t *testing.T) {
	for _, text := range []string{
		"${DB_PASS}", "{{password}}", "{password}", "<password>", "[YOUR-PASSWORD]", "$DB_PASS", "%25(password)s",
		"%(password)s",
	} {
		checkWarnings(t, []noted{
			{text + " as password", "postgres://u:" + text + "@h/db", "user or password"},
			{text + " as user", "postgres://" + text + ":secret12@h/db", "user or password"},
		})
		checkRefusal(t, []refusal{{text + " as host", "postgres://u:secret12@" + text + "/db", urlfix.CodeValue, ""}})
	}
	checkWarnings(t, []noted{
		{"a placeholder as database", "postgres://h/${DB_NAME}", "database"},
		{"a placeholder as keyword", "host=h password=${DB_PASS}", "user or password"},
		{"a password with an opening bracket is none", "postgres://u:[secret@h/db", ""},
		{"a password with a dollar sign is none", "postgres://u:$ECRET@h/db", ""},
		{"brackets alone are none", "postgres://u:[]@h/db", ""},
	})
}

func TestStringsOfVendors(t *testing.T) {
	checkMeaning(t, []means{
		{"Neon's endpoint in the options", "postgresql://alex:pw@ep-x.neon.tech/db?sslmode=require&options=endpoint%3Dep-x",
			"postgres://alex:pw@ep-x.neon.tech/db?sslmode=require&options=endpoint%3Dep-x"},
		{"Neon's endpoint in the password", "postgresql://alex:endpoint=ep-x;pw@ep-x.neon.tech/db",
			"postgres://alex:endpoint%3Dep-x%3Bpw@ep-x.neon.tech/db"},
		{"Neon's endpoint in the password with a dollar sign", "postgresql://alex:endpoint=ep-x$pw@ep-x.neon.tech/db",
			"postgres://alex:endpoint%3Dep-x%24pw@ep-x.neon.tech/db"},
		{"Neon's endpoint in the password as keyword", "host=ep-x.neon.tech user=alex password=endpoint=ep-x;pw",
			"postgres://alex:endpoint%3Dep-x%3Bpw@ep-x.neon.tech/"},
		{"Supabase's pooler", "postgres://postgres.apbkobhf:[pw]@aws-0-us-east-1.pooler.supabase.com:6543/postgres",
			"postgres://postgres.apbkobhf:%5Bpw%5D@aws-0-us-east-1.pooler.supabase.com:6543/postgres"},
		{"Azure's user", "postgres://me@srv:s3cretPw@srv.postgres.database.azure.com:5432/postgres?sslmode=require",
			"postgres://me%40srv:s3cretPw@srv.postgres.database.azure.com:5432/postgres?sslmode=require"},
		{"Azure's user as keyword", "host=srv.postgres.database.azure.com user=me@srv password=s3cretPw",
			"postgres://me%40srv:s3cretPw@srv.postgres.database.azure.com/"},
		{"a token of RDS, encoded",
			"postgres://u:db.rds.amazonaws.com%3A5432%2F%3FAction%3Dconnect%26X-Amz-Credential%3DA%252F20@db:5432/d",
			"postgres://u:db.rds.amazonaws.com%3A5432%2F%3FAction%3Dconnect%26X-Amz-Credential%3DA%252F20@db:5432/d"},
		{"a token of RDS as keyword",
			"host=db user=u password=db.rds.amazonaws.com:5432/?Action=connect&X-Amz-Credential=A%2F20",
			"postgres://u:db.rds.amazonaws.com%3A5432%2F%3FAction%3Dconnect%26X-Amz-Credential%3DA%252F20@db/"},
		{"Heroku", "postgres://u1:p0ssw0rd@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d1",
			"postgres://u1:p0ssw0rd@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d1"},
		{"Cloud SQL's socket", "postgresql://u:pw@/db?host=/cloudsql/proj:us-central1:inst",
			"postgres://u:pw@%2Fcloudsql%2Fproj%3Aus-central1%3Ainst/db"},
		{"a cluster of CockroachDB",
			"postgresql://u:pw@free-tier.cockroachlabs.cloud:26257/db?sslmode=verify-full&sslrootcert=root.crt&" +
				"options=--cluster%3Ddim-dog-147", "postgres://u:pw@free-tier.cockroachlabs.cloud:26257/db?sslmode=verify-full&" +
				"sslrootcert=root.crt&options=--cluster%3Ddim-dog-147"},
		{"CockroachDB under SQLAlchemy", "cockroachdb+psycopg2://u:p/w@h:26257/db?sslmode=verify-full",
			"postgres://u:p%2Fw@h:26257/db?sslmode=verify-full"},
	})
	checkRefusal(t, []refusal{
		{"a token of RDS as it stands",
			"postgres://u:db.rds.amazonaws.com:5432/?Action=connect&X-Amz-Credential=A%2F20@db:5432/d", urlfix.CodeAmbiguous,
			"password"},
		{"Supabase's region that was not filled in", "postgres://u:pw@aws-0-[REGION].pooler.supabase.com:6543/postgres",
			urlfix.CodeValue, "host"},
	})
}
