// kstatus prints the status of each object of a JSON array, as Flux's own library computes it.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var found []json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&found); err != nil {
		return err
	}
	said := make([]string, 0, len(found))
	for _, each := range found {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(each); err != nil {
			return err
		}
		result, err := status.Compute(object)
		if err != nil {
			return err
		}
		said = append(said, result.Status.String())
	}
	return json.NewEncoder(os.Stdout).Encode(said)
}
