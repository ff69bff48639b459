//! Keeps engines in processes of their own: the child that holds one, and the parent that watches over it.
