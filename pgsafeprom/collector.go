package pgsafeprom

import (
	"database/sql"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pgsafe/pgsafe"
)

// Collector reports the statistics of one pool. It is safe for concurrent use.
type Collector struct {
	db        *sql.DB
	connector *pgsafe.Connector
	metrics   []metric
}

var _ prometheus.Collector = (*Collector)(nil)

// NewCollector returns a collector of db's pool. name is the value of the label db_name, and must
// differ between the databases of one registry. The error says that db is not of the pgsafe driver,
// or that a layer hides its Connector.
//
// The collector goes on after db is closed, with the last numbers: unregister it before.
func NewCollector(db *sql.DB, name string) (*Collector, error) {
	connector, ok := pgsafe.ConnectorOf(db)
	if !ok {
		return nil, fmt.Errorf("pgsafeprom: the *sql.DB of %q is not one of the pgsafe driver, or a layer hides its Connector", name)
	}
	return &Collector{db: db, connector: connector, metrics: newMetrics(prometheus.Labels{"db_name": name})}, nil
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		descs <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(metrics chan<- prometheus.Metric) {
	s := snapshot{c.connector.Stats(), c.db.Stats()}
	for _, m := range c.metrics {
		metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s))
	}
}
