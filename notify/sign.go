package notify

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of Standard Webhooks (https://www.standardwebhooks.com), whose libraries
// verify a delivery.
const (
	headerID        = "Webhook-Id"        // the same for every attempt of one delivery
	headerTimestamp = "Webhook-Timestamp" // of the attempt, in seconds since 1970
	headerSignature = "Webhook-Signature" // "v1," and base64 of the HMAC-SHA256 of "ID.TIMESTAMP.BODY"
)

// newRun is the random name of a run, which begins the ids of its deliveries.
func newRun() string {
	var b [9]byte
	_, _ = rand.Read(b[:]) // it does not fail
	return "run_" + hex.EncodeToString(b[:])
}

// keyOf is the key of a secret: that which follows "whsec_" in base64, as Standard Webhooks
// writes secrets, otherwise its bytes.
func keyOf(secret string) ([]byte, error) {
	encoded, standard := strings.CutPrefix(secret, "whsec_")
	if !standard {
		return []byte(secret), nil
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("what follows whsec_ is no base64")
	}
	return key, nil
}

// sign sets the timestamp and the signature of an attempt. The id stands already.
func sign(header http.Header, key, body []byte, now time.Time) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", header.Get(headerID), timestamp)
	mac.Write(body)
	header.Set(headerTimestamp, timestamp)
	header.Set(headerSignature, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}
