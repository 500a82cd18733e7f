#!/bin/sh
# The key in this directory, in every form that OpenSSL 3 writes. It is for tests only. Its password is "sesame-4711".
set -eu
cd "$(dirname "$0")"
pass=pass:sesame-4711
out() { openssl pkcs8 -topk8 -in sec1.pem -passout $pass "$@"; }

openssl ecparam -name prime256v1 -genkey -out sec1.pem # with a block of EC PARAMETERS in front
openssl pkcs8 -topk8 -nocrypt -in sec1.pem -out plain.pem
openssl pkcs8 -topk8 -nocrypt -in sec1.pem -outform DER -out plain.der
openssl ec -in sec1.pem -aes256 -passout $pass -out legacy.pem
out -out aes256-sha256.pem
out -outform DER -out aes256-sha256.der
out -v2 aes-128-cbc -v2prf hmacWithSHA1 -out aes128-sha1.pem
out -v2 aes-192-cbc -v2prf hmacWithSHA512 -out aes192-sha512.pem
out -v2 des3 -v2prf hmacWithSHA224 -out des3-sha224.pem
out -v2 aes-256-cbc -v2prf hmacWithSHA384 -iter 10000 -out aes256-sha384.pem
# Forms that are refused.
out -scrypt -out scrypt.pem
out -v1 PBE-SHA1-3DES -out pbes1.pem
out -v2 camellia-256-cbc -out camellia.pem
openssl req -x509 -key sec1.pem -subj /CN=test -days 3650 -out cert.tmp
openssl pkcs12 -export -inkey sec1.pem -in cert.tmp -passout $pass -out pkcs12.p12
rm cert.tmp
