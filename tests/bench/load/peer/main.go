// Command peer is what a webhook in Go does at the least: net/http and encoding/json, one processor, decode the review, find the object's
// name and labels, refuse with a fixed sentence. It decides nothing; it stands beside the bench as the floor of another language.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"runtime"
)

type review struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Request    *request  `json:"request,omitempty"`
	Response   *response `json:"response,omitempty"`
}

type request struct {
	UID       string   `json:"uid"`
	Operation string   `json:"operation"`
	Name      string   `json:"name"`
	Namespace string   `json:"namespace"`
	UserInfo  userInfo `json:"userInfo"`
	Object    *object  `json:"object"`
	OldObject *object  `json:"oldObject"`
}

type userInfo struct {
	Username string              `json:"username"`
	Groups   []string            `json:"groups"`
	Extra    map[string][]string `json:"extra"`
}

type object struct {
	Metadata struct {
		Name   string            `json:"name"`
		UID    string            `json:"uid"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
}

type response struct {
	UID     string `json:"uid"`
	Allowed bool   `json:"allowed"`
	Status  status `json:"status"`
}

type status struct {
	Code    int    `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func main() {
	certificate := flag.String("cert", "", "PEM file")
	key := flag.String("key", "", "PEM file")
	flag.Parse()
	runtime.GOMAXPROCS(1)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	http.HandleFunc("POST /validate", answer)
	log.Fatal(http.ServeTLS(listener, nil, *certificate, *key))
}

func answer(w http.ResponseWriter, r *http.Request) {
	var asked review
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.Request == nil {
		http.Error(w, "not a review", http.StatusBadRequest)
		return
	}
	name := asked.Request.Name
	if asked.Request.OldObject != nil {
		name = asked.Request.OldObject.Metadata.Name
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review{
		APIVersion: asked.APIVersion,
		Kind:       asked.Kind,
		Response:   &response{UID: asked.Request.UID, Status: status{403, "Forbidden", "held: " + name}},
	})
}
