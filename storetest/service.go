package storetest

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// rolesOf names the roles that are made for a database, and dropped with it.
func rolesOf(database string) store.AccessRoles {
	return store.AccessRoles{Service: database + "_service", Reader: database + "_reader"}
}

// grant makes the roles of a database and returns the configuration of a service that uses it.
func (s *server) grant(ctx context.Context, config store.Config) (store.Config, error) {
	address, err := url.Parse(config.URL)
	if err != nil {
		return config, err
	}
	roles := rolesOf(strings.TrimPrefix(address.Path, "/"))
	migrator, err := store.OpenMigrator(ctx, config)
	if err != nil {
		return config, err
	}
	if err := errors.Join(migrator.GrantAccess(ctx, roles), migrator.Close()); err != nil {
		return config, err
	}
	// Where the server asks for passwords, it is that of the owner.
	login, user := "LOGIN", url.User(roles.Service)
	if password, given := address.User.Password(); given {
		login += " PASSWORD '" + strings.ReplaceAll(password, "'", "''") + "'"
		user = url.UserPassword(roles.Service, password)
	}
	if err := s.alterRole(ctx, roles.Service, login); err != nil {
		return config, err
	}
	config.DirectURL = cmp.Or(config.DirectURL, config.URL)
	address.User = user
	config.URL, config.ReaderRole = address.String(), roles.Reader
	return config, nil
}

func (s *server) alterRole(ctx context.Context, role, attributes string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.connect(ctx); err != nil {
		return err
	}
	_, err := s.conn.Exec(ctx, "ALTER ROLE "+quote(role)+" "+attributes)
	return err
}
